// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {PotSettlement} from "../src/PotSettlement.sol";
import {PotVault} from "../src/PotVault.sol";
import {Fixture} from "./Fixture.sol";

/// @notice Merkle roots and claims.
contract RootsTest is Fixture {
    function setUp() public override {
        super.setUp();
        deposit(100 * COIN);
    }

    function commit(bytes32 root, uint256 total) private {
        uint256 nonce = pot.nextNonce();
        bytes memory signatures = signEnough(rootDigest(nonce, root, total));
        pot.commitRoot(nonce, root, total, signatures);
    }

    function branch(bytes32 sibling) private pure returns (bytes32[] memory proof) {
        proof = new bytes32[](1);
        proof[0] = sibling;
    }

    function test_commits_and_claims() public {
        bytes32 root = pair(leaf(alice, 30), leaf(bob, 12));
        bytes memory signatures = signEnough(rootDigest(0, root, 42));
        vm.expectEmit(true, true, true, true, address(pot));
        emit PotVault.RootCommitted(1, 0, root, 42, relayer);
        vm.prank(relayer);
        pot.commitRoot(0, root, 42, signatures);
        eq(pot.committedRoot(), root, "root");
        eq(pot.allocated(), 42, "allocated");
        eq(pot.claimable(), 42, "claimable");
        eq(pot.nextNonce(), 1, "nonce");
        vm.expectEmit(true, true, true, true, address(pot));
        emit PotVault.Claimed(bob, 12);
        vm.prank(relayer);
        pot.claim(bob, 12, branch(leaf(alice, 30)));
        eq(pot.rewards(bob), 12, "rewards");
        eq(pot.claimed(bob), 12, "claimed");
        eq(pot.claimable(), 30, "left");
        vm.prank(bob);
        pot.withdraw();
        eq(bob.balance, 12, "bob");
    }

    function test_credits_the_increase_over_roots() public {
        commit(pair(leaf(alice, 30), leaf(bob, 12)), 42);
        pot.claim(bob, 12, branch(leaf(alice, 30)));
        bytes memory nothing = abi.encodeWithSelector(PotVault.NothingToClaim.selector, bob, 12);
        vm.expectRevert(nothing);
        pot.claim(bob, 12, branch(leaf(alice, 30)));
        commit(pair(leaf(alice, 31), leaf(bob, 20)), 9);
        vm.expectRevert(abi.encodeWithSelector(PotVault.BadProof.selector, bob, 12));
        pot.claim(bob, 12, branch(leaf(alice, 30)));
        pot.claim(bob, 20, branch(leaf(alice, 31)));
        eq(pot.rewards(bob), 20, "bob");
        pot.claim(alice, 31, branch(leaf(bob, 20)));
        eq(pot.rewards(alice), 31, "alice claims both at once");
        eq(pot.claimable(), 0, "all of it");
        eq(pot.allocated(), 51, "allocated");
    }

    function test_a_root_cannot_touch_what_is_others() public {
        reward(alice, 50 * COIN);
        // The tree promises all there is, the signed total a little.
        commit(leaf(bob, 100 * COIN), 7);
        vm.expectRevert(abi.encodeWithSelector(PotVault.ExceedsCommitted.selector, 100 * COIN, 7));
        pot.claim(bob, 100 * COIN, new bytes32[](0));
        commit(leaf(bob, 7), 1);
        pot.claim(bob, 7, new bytes32[](0));
        eq(pot.claimable(), 1, "left");
        vm.prank(alice);
        pot.withdraw();
        eq(alice.balance, 50 * COIN, "alice");
    }

    function test_refuses_commits_that_are_not_covered_signed_or_next() public {
        bytes32 root = leaf(bob, 1);
        bytes memory signatures = signEnough(rootDigest(0, root, 100 * COIN + 1));
        vm.expectRevert(abi.encodeWithSelector(PotVault.ExceedsDeposits.selector, 100 * COIN + 1, 100 * COIN));
        pot.commitRoot(0, root, 100 * COIN + 1, signatures);
        signatures = signEnough(rootDigest(0, root, 0));
        vm.expectRevert(abi.encodeWithSelector(PotVault.ZeroAmount.selector));
        pot.commitRoot(0, root, 0, signatures);
        vm.expectRevert(abi.encodeWithSelector(PotSettlement.TooFewSignatures.selector, 0, 3));
        pot.commitRoot(0, root, 1, "");
        vm.expectRevert(abi.encodeWithSelector(PotVault.WrongNonce.selector, 1, 0));
        pot.commitRoot(1, root, 1, "");
    }

    function test_refuses_claims_before_the_first_root_and_with_wrong_branches() public {
        vm.expectRevert(abi.encodeWithSelector(PotVault.BadProof.selector, bob, 12));
        pot.claim(bob, 12, new bytes32[](0));
        commit(pair(leaf(alice, 30), leaf(bob, 12)), 42);
        vm.expectRevert(abi.encodeWithSelector(PotVault.BadProof.selector, bob, 13));
        pot.claim(bob, 13, branch(leaf(alice, 30)));
        vm.expectRevert(abi.encodeWithSelector(PotVault.BadProof.selector, alice, 12));
        pot.claim(alice, 12, branch(leaf(alice, 30)));
    }

    function testFuzz_every_leaf_of_a_tree_can_be_claimed(uint96[8] calldata figures) public {
        bytes32[8] memory leaves;
        uint256[8] memory amount;
        uint256 total;
        for (uint256 i = 0; i < 8; ++i) {
            amount[i] = within(figures[i], 1, COIN);
            total += amount[i];
            leaves[i] = leaf(address(uint160(i + 1)), amount[i]);
        }
        bytes32[4] memory level1;
        for (uint256 i = 0; i < 4; ++i) {
            level1[i] = pair(leaves[2 * i], leaves[2 * i + 1]);
        }
        bytes32[2] memory level2 = [pair(level1[0], level1[1]), pair(level1[2], level1[3])];
        commit(pair(level2[0], level2[1]), total);
        for (uint256 i = 0; i < 8; ++i) {
            bytes32[] memory proof = new bytes32[](3);
            (proof[0], proof[1], proof[2]) = (leaves[i ^ 1], level1[(i / 2) ^ 1], level2[(i / 4) ^ 1]);
            pot.claim(address(uint160(i + 1)), amount[i], proof);
            eq(pot.rewards(address(uint160(i + 1))), amount[i], "leaf");
        }
        eq(pot.claimable(), 0, "all of it");
    }
}
