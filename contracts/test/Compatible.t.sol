// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {PotSettlement} from "../src/PotSettlement.sol";
import {PotVault} from "../src/PotVault.sol";
import {Fixture} from "./Fixture.sol";

/// @notice The seed's procedure: propose, confirm, execute.
contract CompatibleTest is Fixture {
    function setUp() public override {
        super.setUp();
        deposit(100 * COIN);
    }

    function indexOf(address destination, uint256 value) private pure returns (uint256) {
        return (uint256(uint160(destination)) << 96) | value;
    }

    function propose(uint256 by, address destination, uint256 value) private returns (uint256) {
        vm.prank(owner(by));
        return pot.proposeTransaction(destination, value);
    }

    function confirm(uint256 by, uint256 txIndex) private {
        vm.prank(owner(by));
        pot.confirmTransaction(txIndex);
    }

    function test_the_confirmation_that_suffices_executes() public {
        uint256 txIndex = indexOf(bob, COIN);
        vm.expectEmit(true, true, true, true, address(pot));
        emit PotSettlement.TransactionProposed(txIndex, owner(0), bob, COIN);
        eq(propose(0, bob, COIN), txIndex, "index");
        eq(pot.confirmationsOf(txIndex), 0, "a proposal is no confirmation");
        confirm(4, txIndex);
        eq(pot.confirmationsOf(txIndex), 1, "one");
        vm.expectEmit(true, true, true, true, address(pot));
        emit PotSettlement.TransactionConfirmed(txIndex, owner(0));
        confirm(0, txIndex);
        eq(pot.rewards(bob), 0, "not yet");
        vm.expectEmit(true, true, true, true, address(pot));
        emit PotSettlement.TransactionConfirmed(txIndex, owner(2));
        vm.expectEmit(true, true, true, true, address(pot));
        emit PotSettlement.TransactionExecuted(txIndex);
        vm.expectEmit(true, true, true, true, address(pot));
        emit PotVault.Credited(bob, COIN);
        confirm(2, txIndex);
        eq(pot.rewards(bob), COIN, "bob");
        eq(pot.allocated(), COIN, "allocated");
        eq(pot.nextNonce(), 0, "no action of the nonce sequence");
        eq(pot.nextEventNonce(), 1, "nor of the events' sequence");
        vm.prank(bob);
        pot.withdraw();
        eq(bob.balance, COIN, "withdrawn");
    }

    function test_nothing_happens_twice() public {
        uint256 txIndex = propose(0, bob, COIN);
        vm.expectRevert(abi.encodeWithSelector(PotSettlement.TransactionKnown.selector, txIndex));
        propose(1, bob, COIN);
        confirm(1, txIndex);
        vm.expectRevert(abi.encodeWithSelector(PotSettlement.AlreadyConfirmed.selector, txIndex, owner(1)));
        confirm(1, txIndex);
        confirm(2, txIndex);
        confirm(3, txIndex);
        bytes memory executed = abi.encodeWithSelector(PotSettlement.TransactionAlreadyExecuted.selector, txIndex);
        vm.expectRevert(executed);
        confirm(4, txIndex);
        vm.expectRevert(executed);
        pot.executeTransaction(txIndex);
        vm.expectRevert(executed);
        pot.confirmationsOf(txIndex);
        vm.expectRevert(abi.encodeWithSelector(PotSettlement.TransactionKnown.selector, txIndex));
        propose(0, bob, COIN);
        eq(pot.rewards(bob), COIN, "once");
    }

    function test_strangers_and_nonsense_are_refused() public {
        vm.expectRevert(abi.encodeWithSelector(PotSettlement.NotOwner.selector, alice));
        vm.prank(alice);
        pot.proposeTransaction(bob, 1);
        vm.expectRevert(abi.encodeWithSelector(PotVault.ZeroAddress.selector));
        propose(0, address(0), 1);
        vm.expectRevert(abi.encodeWithSelector(PotVault.ZeroAmount.selector));
        propose(0, bob, 0);
        vm.expectRevert(abi.encodeWithSelector(PotSettlement.ValueTooLarge.selector, 1 << 96));
        propose(0, bob, 1 << 96);
        uint256 txIndex = indexOf(bob, 1);
        bytes memory unknown = abi.encodeWithSelector(PotSettlement.TransactionUnknown.selector, txIndex);
        vm.expectRevert(unknown);
        confirm(0, txIndex);
        vm.expectRevert(unknown);
        pot.executeTransaction(txIndex);
        propose(0, bob, 1);
        vm.expectRevert(abi.encodeWithSelector(PotSettlement.NotOwner.selector, alice));
        vm.prank(alice);
        pot.confirmTransaction(txIndex);
        vm.expectRevert(abi.encodeWithSelector(PotSettlement.NotConfirmed.selector, txIndex, 0, 3));
        pot.executeTransaction(txIndex);
    }

    function test_a_payment_without_deposits_waits_for_them() public {
        uint256 txIndex = propose(0, bob, 100 * COIN + 1);
        confirm(0, txIndex);
        confirm(1, txIndex);
        confirm(2, txIndex);
        eq(pot.confirmationsOf(txIndex), 3, "confirmed");
        vm.expectRevert(
            abi.encodeWithSelector(PotVault.ExceedsDeposits.selector, 100 * COIN + 1, 100 * COIN)
        );
        pot.executeTransaction(txIndex);
        deposit(1);
        vm.prank(relayer);
        pot.executeTransaction(txIndex);
        eq(pot.rewards(bob), 100 * COIN + 1, "bob");
    }

    function test_a_payment_confirmed_during_a_pause_waits_for_its_end() public {
        uint256 txIndex = propose(0, bob, COIN);
        vm.prank(owner(4));
        pot.pauseByOwner();
        confirm(0, txIndex);
        confirm(1, txIndex);
        confirm(2, txIndex);
        eq(pot.rewards(bob), 0, "not yet");
        vm.expectRevert(abi.encodeWithSelector(PotVault.Paused.selector, pot.pausedUntil()));
        pot.executeTransaction(txIndex);
        vm.warp(pot.pausedUntil());
        confirm(3, txIndex);
        eq(pot.rewards(bob), COIN, "a further confirmation executes, too");
    }

    function test_a_rotation_voids_confirmations() public {
        uint256 txIndex = propose(0, bob, COIN);
        confirm(0, txIndex);
        confirm(1, txIndex);
        uint256[] memory next = keysOf("next", 4);
        rotate(addressesOf(next), 2);
        eq(pot.confirmationsOf(txIndex), 0, "void");
        keys = next;
        confirm(0, txIndex);
        vm.expectRevert(abi.encodeWithSelector(PotSettlement.NotConfirmed.selector, txIndex, 1, 2));
        pot.executeTransaction(txIndex);
        confirm(1, txIndex);
        eq(pot.rewards(bob), COIN, "bob");
        vm.expectRevert(abi.encodeWithSelector(PotSettlement.TransactionKnown.selector, txIndex));
        propose(0, bob, COIN);
    }

    function test_is_off_unless_asked_for() public {
        pot = new PotSettlement(addressesOf(keys), THRESHOLD, address(0), false);
        no(pot.compatible(), "compatible");
        vm.expectRevert(abi.encodeWithSelector(PotSettlement.CompatiblePathOff.selector));
        propose(0, bob, 1);
        uint256 txIndex = indexOf(bob, 1);
        bytes memory unknown = abi.encodeWithSelector(PotSettlement.TransactionUnknown.selector, txIndex);
        vm.expectRevert(unknown);
        confirm(0, txIndex);
        vm.expectRevert(unknown);
        pot.executeTransaction(txIndex);
    }

    function test_counts_every_one_of_the_most_owners() public {
        uint256 count = 208;
        address[] memory owners = new address[](count);
        for (uint256 i = 0; i < count; ++i) {
            owners[i] = address(uint160(i + 1));
        }
        pot = new PotSettlement(owners, count, address(0), true);
        deposit(COIN);
        vm.prank(owners[0]);
        uint256 txIndex = pot.proposeTransaction(bob, COIN);
        for (uint256 i = 0; i < count; ++i) {
            eq(pot.confirmationsOf(txIndex), i, "confirmations");
            vm.prank(owners[count - 1 - i]);
            pot.confirmTransaction(txIndex);
        }
        eq(pot.rewards(bob), COIN, "bob");
    }

    function testFuzz_pays_what_was_proposed(uint160 who, uint96 figure, uint8 order) public {
        address destination = address(uint160(within(who, 1, type(uint160).max - 1)));
        uint256 value = within(figure, 1, 100 * COIN);
        uint256 txIndex = propose(order % COUNT, destination, value);
        for (uint256 i = 0; i < THRESHOLD; ++i) {
            eq(pot.rewards(destination), 0, "not before the last");
            confirm((order + i) % COUNT, txIndex);
        }
        eq(pot.rewards(destination), value, "credited");
    }
}
