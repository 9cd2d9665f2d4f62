// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {PotSettlement} from "../src/PotSettlement.sol";
import {PotVault} from "../src/PotVault.sol";
import {Fixture} from "./Fixture.sol";

/// @notice Everything that anybody may do, in any order, with the sums that a bookkeeper would keep beside it. Counts
/// what it did, so that a run that never got anywhere shows.
contract Actor is Fixture {
    uint256 private constant PAYEES = 4;

    /// @dev Coins that left, by the bookkeeper's account.
    uint256 public paid;
    uint256 public sumDeposited;
    uint256 public sumAllocated;
    uint256 public actions;
    uint256 public events;
    mapping(uint256 payee => uint256 amount) private _owed;
    uint256 private _rotations;
    uint256 public withdrawals;
    uint256 public batches;
    uint256 public claims;
    uint256 public payments;
    uint256 public refusals;

    constructor() {
        setUp();
    }

    function settlement() external view returns (PotSettlement) {
        return pot;
    }

    function payee(uint256 number) public pure returns (address) {
        return address(uint160(0x1000 + number % PAYEES));
    }

    function add(uint96 figure) external going {
        uint256 amount = within(figure, 1, 10 * COIN);
        pot.deposit{value: amount}(alice);
        sumDeposited += amount;
        ++events;
    }

    function batch(uint96[3] calldata figures, uint8 first) external going {
        uint256 available = sumDeposited - sumAllocated;
        address[] memory to = new address[](3);
        uint256[] memory amount = new uint256[](3);
        uint256 total;
        for (uint256 i = 0; i < 3; ++i) {
            (to[i], amount[i]) = (payee(uint256(first) + i), within(figures[i], 1, 2 * COIN));
            total += amount[i];
        }
        bytes memory signatures = signEnough(batchDigest(actions, to, amount));
        try pot.executeBatch(actions, to, amount, signatures) {
            if (total > available) revert Untrue("beyond deposits");
            sumAllocated += total;
            ++actions;
            ++events;
            ++batches;
        } catch {
            if (total <= available) revert Untrue("refused within deposits");
            ++refusals;
        }
    }

    function root(uint96 figure, uint8 who, uint96 lie) external going {
        uint256 total = within(figure, 1, COIN);
        if (total > sumDeposited - sumAllocated) return;
        // The tree promises one payee the total, or more.
        address account = payee(who);
        uint256 cumulative = pot.claimed(account) + total + (lie % 3 == 0 ? uint256(lie) : 0);
        bytes32 top = leaf(account, cumulative);
        pot.commitRoot(actions, top, total, signEnough(rootDigest(actions, top, total)));
        sumAllocated += total;
        ++actions;
        ++events;
        try pot.claim(account, cumulative, new bytes32[](0)) {
            ++claims;
        } catch {
            ++refusals;
        }
    }

    function pay(uint96 figure, uint8 who) external going {
        uint256 value = within(figure, 1, COIN);
        uint256 txIndex = (uint256(uint160(payee(who))) << 96) | value;
        uint256 available = sumDeposited - sumAllocated;
        vm.prank(owner(0));
        try pot.proposeTransaction(payee(who), value) {}
        catch {
            return;
        }
        for (uint256 i = 0; i < THRESHOLD; ++i) {
            vm.prank(owner(i));
            pot.confirmTransaction(txIndex);
        }
        if (value <= available) {
            sumAllocated += value;
            ++payments;
        }
    }

    function take(uint96 figure, uint8 who) external {
        address account = payee(who);
        uint256 held = pot.rewards(account);
        if (held == 0) return;
        uint256 amount = within(figure, 1, held);
        vm.prank(account);
        if (amount == held) pot.withdraw();
        else pot.withdraw(amount);
        paid += amount;
        ++withdrawals;
    }

    function rotate(uint8 count) external {
        uint256[] memory next = keysOf(_rotations++ % 2 == 0 ? "even" : "odd", within(count, THRESHOLD + 1, 7));
        address[] memory owners = addressesOf(next);
        pot.rotateOwners(actions, owners, THRESHOLD, signEnough(rotationDigest(actions, owners, THRESHOLD)));
        keys = next;
        ++actions;
        ++events;
    }

    function pause(bool stop) external {
        pot.setPaused(actions, stop, signEnough(pauseDigest(actions, stop)));
        ++actions;
        ++events;
    }

    function pass(uint16 time) external {
        vm.warp(block.timestamp + time);
    }

    /// @dev A stopped contract does nothing; every other call starts it again.
    modifier going() {
        if (pot.paused()) {
            pot.setPaused(actions, false, signEnough(pauseDigest(actions, false)));
            ++actions;
            ++events;
        }
        _;
    }

    function sumOfRewards() external view returns (uint256 sum) {
        for (uint256 i = 0; i < PAYEES; ++i) {
            sum += pot.rewards(payee(i));
        }
    }
}

/// @notice What must be true after any sequence of actions.
contract InvariantsTest is Fixture {
    uint96 private constant COIN96 = 1e18;

    Actor private actor;

    function setUp() public override {
        actor = new Actor();
        vm.deal(address(actor), 1_000_000 * COIN);
    }

    struct Target {
        address addr;
        bytes4[] selectors;
    }

    /// @dev What forge calls, at random.
    function targetSelectors() public view returns (Target[] memory targets) {
        targets = new Target[](1);
        targets[0].addr = address(actor);
        bytes4[8] memory calls = [
            Actor.add.selector,
            Actor.batch.selector,
            Actor.root.selector,
            Actor.pay.selector,
            Actor.take.selector,
            Actor.rotate.selector,
            Actor.pause.selector,
            Actor.pass.selector
        ];
        targets[0].selectors = new bytes4[](calls.length);
        for (uint256 i = 0; i < calls.length; ++i) {
            targets[0].selectors[i] = calls[i];
        }
    }

    function targetContracts() public view returns (address[] memory) {
        return one(address(actor));
    }

    /// @dev The invariants would hold as well for an actor that never gets anywhere.
    function test_the_actor_gets_everywhere() public {
        actor.batch([COIN96, COIN96, COIN96], 0);
        eq(actor.refusals(), 1, "a batch without deposits");
        actor.add(5 * COIN96);
        actor.batch([COIN96, 2, 3], 0);
        actor.root(7, 1, 1);
        actor.root(7, 1, 3);
        eq(actor.refusals(), 2, "a tree that promises too much");
        actor.pay(9, 2);
        actor.take(1, 0);
        actor.rotate(1);
        actor.pause(true);
        actor.pass(1);
        actor.batch([COIN96, 2, 3], 1);
        eq(actor.batches(), 2, "batches");
        eq(actor.claims(), 1, "claims");
        eq(actor.payments(), 1, "payments");
        eq(actor.withdrawals(), 1, "withdrawals");
        invariant_the_vault_can_pay_what_it_owes();
        invariant_sums_and_nonces_are_the_bookkeepers();
    }

    function invariant_the_vault_can_pay_what_it_owes() public view {
        PotSettlement vault = actor.settlement();
        uint256 owed = actor.sumOfRewards() + vault.claimable() + vault.deposited() - vault.allocated();
        eq(address(vault).balance, owed, "balance");
        eq(actor.sumDeposited() - actor.paid(), owed, "the bookkeeper's balance");
    }

    function invariant_sums_and_nonces_are_the_bookkeepers() public view {
        PotSettlement vault = actor.settlement();
        eq(vault.deposited(), actor.sumDeposited(), "deposited");
        eq(vault.allocated(), actor.sumAllocated(), "allocated");
        yes(vault.allocated() <= vault.deposited(), "allocated within deposited");
        eq(vault.nextNonce(), actor.actions(), "nonce without gaps");
        eq(vault.nextEventNonce(), actor.events(), "event nonce without gaps");
    }
}
