// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Errors} from "@openzeppelin/contracts/utils/Errors.sol";
import {PotSettlement} from "../src/PotSettlement.sol";
import {PotVault} from "../src/PotVault.sol";
import {Fixture} from "./Fixture.sol";
import {FalseToken, FeeToken, GreedyToken, HookToken, Payee, PlainToken} from "./Tokens.sol";

/// @notice Money in and out: native coin and tokens, good and bad ones.
contract DepositTest is Fixture {
    function withToken(address token) private returns (PotSettlement) {
        return new PotSettlement(addressesOf(keys), THRESHOLD, token, false);
    }

    function test_begins_empty() public view {
        eq(pot.nextNonce(), 0, "nonce");
        eq(pot.nextEventNonce(), 0, "event nonce");
        eq(pot.deposited(), 0, "deposited");
        eq(pot.allocated(), 0, "allocated");
        eq(pot.claimable(), 0, "claimable");
        eq(pot.pausedUntil(), 0, "paused until");
        no(pot.paused(), "paused");
        eq(pot.token(), address(0), "token");
        yes(pot.compatible(), "compatible");
        eq(pot.committedRoot(), bytes32(0), "root");
    }

    function test_deposits_count_without_gaps() public {
        for (uint256 i = 0; i < 3; ++i) {
            vm.expectEmit(true, true, true, true, address(pot));
            emit PotVault.Deposit(i, bob, i + 1);
            pot.deposit{value: i + 1}(bob);
        }
        eq(pot.deposited(), 6, "deposited");
        eq(address(pot).balance, 6, "balance");
        eq(pot.nextEventNonce(), 3, "event nonce");
        eq(pot.nextNonce(), 0, "nonce");
        eq(pot.rewards(bob), 0, "a deposit is no reward");
    }

    function test_refuses_deposits_for_nobody_and_of_nothing() public {
        vm.expectRevert(abi.encodeWithSelector(PotVault.ZeroAddress.selector));
        pot.deposit{value: 1}(address(0));
        vm.expectRevert(abi.encodeWithSelector(PotVault.ZeroAmount.selector));
        pot.deposit(alice);
        (bool sent, bytes memory reason) = address(pot).call{value: 1}("");
        no(sent, "bare transfer");
        eq(bytes32(bytes4(reason)), bytes32(PotVault.DepositWithoutAccount.selector), "reason");
        vm.expectRevert(abi.encodeWithSelector(PotVault.NativeExpected.selector));
        pot.depositToken(alice, 1);
    }

    function test_refuses_deposits_beyond_96_bits() public {
        uint256 most = type(uint96).max;
        vm.deal(address(this), type(uint128).max);
        pot.deposit{value: most - 1}(alice);
        vm.expectRevert(abi.encodeWithSelector(PotVault.DepositsFull.selector, most - 1, 2));
        pot.deposit{value: 2}(alice);
        pot.deposit{value: 1}(alice);
        eq(pot.deposited(), most, "full");
        eq(pot.nextEventNonce(), 2, "the word's other fields are as they were");
        eq(pot.nextNonce(), 0, "nonce");
        eq(pot.epoch(), 0, "epoch");
        vm.expectRevert(abi.encodeWithSelector(PotVault.DepositsFull.selector, most, 1));
        pot.deposit{value: 1}(alice);
        reward(bob, most);
        eq(pot.rewards(bob), most, "all of it");
    }

    function test_withdraws_all() public {
        deposit(COIN);
        reward(bob, COIN / 2);
        vm.expectEmit(true, true, true, true, address(pot));
        emit PotVault.Withdrawn(bob, COIN / 2);
        vm.prank(bob);
        pot.withdraw();
        eq(bob.balance, COIN / 2, "bob");
        eq(pot.rewards(bob), 0, "rewards");
        vm.expectRevert(abi.encodeWithSelector(PotVault.InsufficientRewards.selector, bob, 0, 0));
        vm.prank(bob);
        pot.withdraw();
    }

    function test_withdraws_a_part() public {
        deposit(COIN);
        reward(bob, 10);
        vm.prank(bob);
        pot.withdraw(9);
        eq(bob.balance, 9, "bob");
        eq(pot.rewards(bob), 1, "rest");
        vm.expectRevert(abi.encodeWithSelector(PotVault.InsufficientRewards.selector, bob, 2, 1));
        vm.prank(bob);
        pot.withdraw(2);
        vm.expectRevert(abi.encodeWithSelector(PotVault.InsufficientRewards.selector, bob, 0, 1));
        vm.prank(bob);
        pot.withdraw(0);
    }

    function test_a_payee_cannot_withdraw_while_it_is_paid() public {
        Payee payee = new Payee(pot, false);
        deposit(COIN);
        reward(address(payee), 10);
        vm.expectRevert(abi.encodeWithSelector(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector));
        payee.withdraw();
        eq(pot.rewards(address(payee)), 10, "still its");
    }

    function test_a_payee_that_refuses_harms_only_itself() public {
        Payee payee = new Payee(pot, true);
        deposit(COIN);
        reward(address(payee), 10);
        reward(bob, 10);
        vm.expectRevert(abi.encodeWithSelector(Payee.Refused.selector));
        payee.withdraw();
        vm.prank(bob);
        pot.withdraw();
        eq(bob.balance, 10, "bob");
    }

    function test_a_vault_that_lost_its_coins_says_so() public {
        deposit(COIN);
        reward(bob, 10);
        vm.deal(address(pot), 9);
        vm.expectRevert(abi.encodeWithSelector(Errors.InsufficientBalance.selector, 9, 10));
        vm.prank(bob);
        pot.withdraw();
    }

    function test_takes_and_pays_tokens() public {
        PlainToken token = new PlainToken(100);
        pot = withToken(address(token));
        eq(pot.token(), address(token), "token");
        token.approve(address(pot), 60);
        vm.expectEmit(true, true, true, true, address(pot));
        emit PotVault.Deposit(0, bob, 60);
        pot.depositToken(bob, 60);
        eq(pot.deposited(), 60, "deposited");
        reward(bob, 25);
        vm.prank(bob);
        pot.withdraw();
        eq(token.balanceOf(bob), 25, "bob");
        eq(token.balanceOf(address(pot)), 35, "rest");
        vm.expectRevert(abi.encodeWithSelector(PotVault.TokenExpected.selector, address(token)));
        pot.deposit{value: 1}(bob);
        vm.expectRevert(abi.encodeWithSelector(PotVault.ZeroAmount.selector));
        pot.depositToken(bob, 0);
    }

    function test_credits_what_arrives_of_a_token_with_a_fee() public {
        FeeToken token = new FeeToken(1000);
        pot = withToken(address(token));
        token.approve(address(pot), 1000);
        pot.depositToken(alice, 1000);
        eq(pot.deposited(), 990, "less the fee");
        reward(bob, 990);
        vm.prank(bob);
        pot.withdraw();
        eq(token.balanceOf(address(pot)), 0, "all gone");
    }

    function test_refuses_tokens_that_take_or_fail_or_call_back() public {
        GreedyToken greedy = new GreedyToken(10);
        pot = withToken(address(greedy));
        vm.expectRevert(abi.encodeWithSelector(PotVault.ZeroAmount.selector));
        pot.depositToken(alice, 10);
        FalseToken liar = new FalseToken();
        pot = withToken(address(liar));
        vm.expectRevert(abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, address(liar)));
        pot.depositToken(alice, 10);
        HookToken hook = new HookToken(10);
        pot = withToken(address(hook));
        hook.attack(pot);
        vm.expectRevert(abi.encodeWithSelector(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector));
        pot.depositToken(alice, 10);
        address[] memory owners = addressesOf(keys);
        vm.expectRevert(abi.encodeWithSelector(PotVault.NotAContract.selector, bob));
        new PotSettlement(owners, THRESHOLD, bob, false);
    }

    function testFuzz_withdraws_what_was_credited(uint96 given, uint96 taken) public {
        uint256 credited = within(given, 1, 1000 * COIN);
        uint256 part = within(taken, 1, credited);
        deposit(1000 * COIN);
        reward(bob, credited);
        vm.prank(bob);
        pot.withdraw(part);
        eq(bob.balance, part, "part");
        eq(pot.rewards(bob), credited - part, "rest");
        if (part < credited) {
            vm.prank(bob);
            pot.withdraw();
        }
        eq(bob.balance, credited, "all");
        eq(address(pot).balance, 1000 * COIN - credited, "balance");
    }
}
