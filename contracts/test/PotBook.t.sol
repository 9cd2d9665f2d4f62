// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {PotBook} from "../src/PotBook.sol";
import {PotVault} from "../src/PotVault.sol";
import {Checks} from "./Checks.sol";

/// @notice The book that a Safe owns.
contract PotBookTest is Checks {
    PotBook private book;
    address private safe = address(0x5afe);
    address private bob = address(0xb0b);

    function setUp() public {
        vm.deal(address(this), 1000);
        book = new PotBook(safe, address(0));
        book.deposit{value: 100}(bob);
    }

    function one(address account) private pure returns (address[] memory list) {
        list = new address[](1);
        list[0] = account;
    }

    function one(uint256 number) private pure returns (uint256[] memory list) {
        list = new uint256[](1);
        list[0] = number;
    }

    function test_names_its_owner() public {
        eq(book.owner(), safe, "owner");
        eq(book.token(), address(0), "token");
        vm.expectRevert(abi.encodeWithSelector(PotVault.ZeroAddress.selector));
        new PotBook(address(0), address(0));
    }

    function test_credits_for_the_safe() public {
        vm.expectEmit(true, true, true, true, address(book));
        emit PotVault.Credited(bob, 60);
        vm.expectEmit(true, true, true, true, address(book));
        emit PotVault.BatchExecuted(1, 0, 60, safe);
        vm.prank(safe);
        book.credit(0, one(bob), one(uint256(60)));
        vm.expectRevert(abi.encodeWithSelector(PotVault.WrongNonce.selector, 0, 1));
        vm.prank(safe);
        book.credit(0, one(bob), one(uint256(60)));
        vm.expectRevert(abi.encodeWithSelector(PotVault.ExceedsDeposits.selector, 60, 40));
        vm.prank(safe);
        book.credit(1, one(bob), one(uint256(60)));
        vm.prank(bob);
        book.withdraw();
        eq(bob.balance, 60, "bob");
    }

    function test_commits_for_the_safe() public {
        bytes32 root = keccak256(bytes.concat(keccak256(abi.encode(bob, 10))));
        vm.expectEmit(true, true, true, true, address(book));
        emit PotVault.RootCommitted(1, 0, root, 10, safe);
        vm.prank(safe);
        book.commitRoot(0, root, 10);
        book.claim(bob, 10, new bytes32[](0));
        eq(book.rewards(bob), 10, "bob");
        vm.expectRevert(abi.encodeWithSelector(PotVault.ZeroAmount.selector));
        vm.prank(safe);
        book.commitRoot(1, root, 0);
    }

    function test_stops_for_the_safe() public {
        vm.expectEmit(true, true, true, true, address(book));
        emit PotVault.PauseSet(1, 0, true);
        vm.prank(safe);
        book.setPaused(0, true);
        yes(book.paused(), "paused");
        bytes memory reason = abi.encodeWithSelector(PotVault.Paused.selector, type(uint40).max);
        vm.expectRevert(reason);
        vm.prank(safe);
        book.credit(1, one(bob), one(uint256(1)));
        vm.expectRevert(reason);
        vm.prank(safe);
        book.commitRoot(1, bytes32(0), 1);
        vm.prank(safe);
        book.setPaused(1, false);
        no(book.paused(), "going");
        vm.prank(safe);
        book.credit(2, one(bob), one(uint256(1)));
    }

    function test_obeys_nobody_else() public {
        bytes memory reason = abi.encodeWithSelector(PotBook.NotOwner.selector, bob);
        vm.expectRevert(reason);
        vm.prank(bob);
        book.credit(0, one(bob), one(uint256(1)));
        vm.expectRevert(reason);
        vm.prank(bob);
        book.commitRoot(0, bytes32(0), 1);
        vm.expectRevert(reason);
        vm.prank(bob);
        book.setPaused(0, true);
    }
}
