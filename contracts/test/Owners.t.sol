// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {OwnerSet} from "../src/OwnerSet.sol";
import {PotSettlement} from "../src/PotSettlement.sol";
import {PotVault} from "../src/PotVault.sol";
import {Fixture} from "./Fixture.sol";

/// @notice Reaches the library from outside, so that its reverts can be expected, and its accounts be named.
contract OwnerSetHarness {
    function store(address[] memory owners, uint256 threshold, uint256 most) external {
        OwnerSet.store(owners, threshold, most);
    }

    function addressOf(uint256 epoch) external view returns (address) {
        return OwnerSet.addressOf(epoch);
    }

    function has(uint256 epoch, address account) external view returns (bool) {
        uint256 place = OwnerSet.find(OwnerSet.start(OwnerSet.load(epoch)), uint160(account));
        return OwnerSet.get(place) == uint160(account);
    }

    function thresholdOf(uint256 epoch) external view returns (uint256) {
        return OwnerSet.thresholdOf(OwnerSet.load(epoch));
    }

    function sizeOf(uint256 epoch) external view returns (uint256) {
        return OwnerSet.size(OwnerSet.load(epoch));
    }
}

/// @notice Owners: the first, their rotation, and the pause.
contract OwnersTest is Fixture {
    OwnerSetHarness private harness;

    function setUp() public override {
        super.setUp();
        harness = new OwnerSetHarness();
        deposit(100 * COIN);
    }

    function test_names_its_owners() public view {
        eq(pot.threshold(), THRESHOLD, "threshold");
        eq(pot.epoch(), 0, "epoch");
        address[] memory owners = pot.owners();
        eq(owners.length, COUNT, "count");
        for (uint256 i = 0; i < COUNT; ++i) {
            eq(owners[i], owner(i), "owner");
            yes(pot.isOwner(owner(i)), "is owner");
            no(pot.isOwner(address(uint160(owner(i)) + 1)), "no owner");
            no(pot.isOwner(address(uint160(owner(i)) - 1)), "no owner");
        }
        no(pot.isOwner(address(0)), "zero");
        no(pot.isOwner(address(type(uint160).max)), "end mark");
    }

    function test_refuses_owners_that_cannot_be() public {
        address[] memory owners = new address[](0);
        vm.expectRevert(abi.encodeWithSelector(OwnerSet.BadOwnerCount.selector, 0, 255));
        new PotSettlement(owners, 0, address(0), false);
        owners = addressesOf(keysOf("many", 3));
        vm.expectRevert(abi.encodeWithSelector(OwnerSet.BadThreshold.selector, 0, 3));
        new PotSettlement(owners, 0, address(0), false);
        vm.expectRevert(abi.encodeWithSelector(OwnerSet.BadThreshold.selector, 4, 3));
        new PotSettlement(owners, 4, address(0), false);
        owners[2] = owners[1];
        vm.expectRevert(abi.encodeWithSelector(OwnerSet.OwnersNotAscending.selector, owners[1], owners[1]));
        new PotSettlement(owners, 2, address(0), false);
        owners[2] = owners[0];
        vm.expectRevert(abi.encodeWithSelector(OwnerSet.OwnersNotAscending.selector, owners[1], owners[0]));
        new PotSettlement(owners, 2, address(0), false);
        owners[0] = address(0);
        vm.expectRevert(abi.encodeWithSelector(OwnerSet.OwnersNotAscending.selector, address(0), address(0)));
        new PotSettlement(owners, 2, address(0), false);
        vm.expectRevert(abi.encodeWithSelector(OwnerSet.SelfOwner.selector, address(harness)));
        harness.store(one(address(harness)), 1, 255);
    }

    function test_holds_as_many_owners_as_a_byte_counts() public {
        address[] memory owners = new address[](255);
        for (uint256 i = 0; i < 255; ++i) {
            owners[i] = address(uint160((i + 1) << 100));
        }
        PotSettlement large = new PotSettlement(owners, 255, address(0), false);
        eq(large.threshold(), 255, "threshold");
        eq(large.owners().length, 255, "owners");
        eq(large.owners()[254], owners[254], "last");
        vm.expectRevert(abi.encodeWithSelector(OwnerSet.BadOwnerCount.selector, 255, 208));
        new PotSettlement(owners, 255, address(0), true);
        owners = new address[](256);
        vm.expectRevert(abi.encodeWithSelector(OwnerSet.BadOwnerCount.selector, 256, 255));
        new PotSettlement(owners, 1, address(0), false);
    }

    function test_says_so_when_the_account_of_a_set_cannot_be_created() public {
        // EIP-684: an account that has code stays as it is, and the creation fails.
        vm.etch(harness.addressOf(0), hex"00");
        vm.expectRevert(abi.encodeWithSelector(OwnerSet.OwnerSetNotCreated.selector));
        harness.store(one(alice), 1, 255);
    }

    function test_finds_the_account_of_every_epoch() public {
        // Where the encoding of the nonce changes its length, and at the end.
        uint256[9] memory epochs = [uint256(0), 1, 126, 127, 128, 254, 255, 256, 65_534];
        for (uint256 i = 0; i < epochs.length; ++i) {
            vm.setNonceUnsafe(address(harness), uint64(epochs[i] + 1));
            address account = address(uint160(0x1000 + i));
            harness.store(one(account), 1, 255);
            if (!harness.has(epochs[i], account)) revert Different("epoch", epochs[i], i);
            no(harness.has(epochs[i], address(uint160(account) + 1)), "other account");
            eq(harness.thresholdOf(epochs[i]), 1, "threshold");
            eq(harness.sizeOf(epochs[i]), 1, "size");
        }
    }

    function test_rotates() public {
        uint256[] memory next = keysOf("next", 4);
        address[] memory owners = addressesOf(next);
        bytes memory signatures = signEnough(rotationDigest(0, owners, 2));
        bytes memory old = signEnough(batchDigest(1, one(bob), one(uint256(5))));
        vm.expectEmit(true, true, true, true, address(pot));
        emit PotSettlement.OwnersRotated(1, 0, 1, keccak256(abi.encode(owners)), 2);
        pot.rotateOwners(0, owners, 2, signatures);
        eq(pot.epoch(), 1, "epoch");
        eq(pot.threshold(), 2, "threshold");
        eq(pot.owners().length, 4, "owners");
        eq(pot.nextNonce(), 1, "nonce");
        eq(pot.nextEventNonce(), 2, "event nonce");
        yes(pot.isOwner(owners[3]), "new owner");
        no(pot.isOwner(owner(0)), "old owner");
        try pot.executeBatch(1, one(bob), one(uint256(5)), old) {
            yes(false, "signatures of the epoch before");
        } catch {}
        keys = next;
        pot.executeBatch(1, one(bob), one(uint256(5)), signBy(0, 2, batchDigest(1, one(bob), one(uint256(5)))));
        eq(pot.rewards(bob), 5, "bob");
    }

    function test_old_owners_cannot_act_in_the_new_epoch() public {
        uint256[] memory old = keys;
        uint256[] memory next = keysOf("next", 4);
        rotate(addressesOf(next), 2);
        bytes memory signatures = signBy(0, 3, batchDigest(1, one(bob), one(uint256(5))));
        try pot.executeBatch(1, one(bob), one(uint256(5)), signatures) {
            yes(false, "signed for the new epoch by the old owners");
        } catch (bytes memory reason) {
            eq(bytes32(bytes4(reason)), bytes32(PotSettlement.NotOwner.selector), "reason");
        }
        vm.expectRevert(abi.encodeWithSelector(PotSettlement.NotOwner.selector, vm.addr(old[0])));
        vm.prank(vm.addr(old[0]));
        pot.pauseByOwner();
    }

    function test_rotation_must_be_signed_next_and_sound() public {
        address[] memory owners = addressesOf(keysOf("next", 4));
        vm.expectRevert(abi.encodeWithSelector(PotVault.WrongNonce.selector, 3, 0));
        pot.rotateOwners(3, owners, 2, "");
        vm.expectRevert(abi.encodeWithSelector(PotSettlement.TooFewSignatures.selector, 0, 3));
        pot.rotateOwners(0, owners, 2, "");
        bytes memory signatures = signEnough(rotationDigest(0, owners, 5));
        vm.expectRevert(abi.encodeWithSelector(OwnerSet.BadThreshold.selector, 5, 4));
        pot.rotateOwners(0, owners, 5, signatures);
        signatures = signEnough(rotationDigest(0, one(address(pot)), 1));
        vm.expectRevert(abi.encodeWithSelector(OwnerSet.SelfOwner.selector, address(pot)));
        pot.rotateOwners(0, one(address(pot)), 1, signatures);
        eq(pot.epoch(), 0, "epoch");
        eq(pot.nextNonce(), 0, "nonce");
    }

    function test_rotates_often() public {
        for (uint256 i = 0; i < 300; ++i) {
            uint256[] memory next = keysOf(i % 2 == 0 ? "even" : "odd", 3);
            uint256 nonce = pot.nextNonce();
            bytes memory signatures = signBy(0, 3, rotationDigest(nonce, addressesOf(next), 3));
            pot.rotateOwners(nonce, addressesOf(next), 3, signatures);
            keys = next;
        }
        eq(pot.epoch(), 300, "epoch");
        keys = keysOf("odd", 3);
        pot.setPaused(300, true, signBy(0, 3, pauseDigest(300, true)));
        yes(pot.paused(), "by the owners in office");
    }

    function test_the_last_epoch_is_the_last() public {
        // The word that holds the epoch, 136 bits from its low end (Book.sol), is the vault's first slot.
        uint256 word = uint256(vm.load(address(pot), 0));
        vm.store(address(pot), 0, bytes32(word | (uint256(65_533) << 136)));
        eq(pot.epoch(), 65_533, "epoch");
        address[] memory owners = addressesOf(keys);
        OwnerSetHarness donor = new OwnerSetHarness();
        donor.store(owners, 3, 255);
        vm.setNonceUnsafe(address(donor), 65_534);
        donor.store(owners, 3, 255);
        bytes memory set = donor.addressOf(65_533).code;
        vm.etch(setOf(65_533), set);
        vm.setNonceUnsafe(address(pot), 65_535);
        bytes memory signatures = signEnough(rotationDigest(0, owners, 3));
        pot.rotateOwners(0, owners, 3, signatures);
        eq(pot.epoch(), 65_534, "the last");
        eq(pot.pausedUntil(), 0, "the field below");
        eq(pot.nextNonce(), 1, "the field above");
        signatures = signEnough(rotationDigest(1, owners, 3));
        vm.expectRevert(abi.encodeWithSelector(PotSettlement.TooManyRotations.selector));
        pot.rotateOwners(1, owners, 3, signatures);
        reward(bob, 1);
        eq(pot.rewards(bob), 1, "everything else goes on");
    }

    /// @dev Address of the account that pot's creation number epoch + 1 makes, encoded here by hand.
    function setOf(uint256 epoch) private view returns (address) {
        bytes memory rlp = abi.encodePacked(hex"d894", address(pot), hex"82", uint16(epoch + 1));
        return address(uint160(uint256(keccak256(rlp))));
    }

    function test_the_owners_stop_the_contract_and_set_it_going() public {
        vm.expectEmit(true, true, true, true, address(pot));
        emit PotVault.PauseSet(1, 0, true);
        pot.setPaused(0, true, signEnough(pauseDigest(0, true)));
        yes(pot.paused(), "paused");
        eq(pot.pausedUntil(), type(uint40).max, "until further notice");
        stopped(type(uint40).max);
        vm.expectEmit(true, true, true, true, address(pot));
        emit PotVault.PauseSet(2, 1, false);
        pot.setPaused(1, false, signEnough(pauseDigest(1, false)));
        no(pot.paused(), "going");
        reward(bob, 1);
        vm.expectRevert(abi.encodeWithSelector(PotSettlement.TooFewSignatures.selector, 0, 3));
        pot.setPaused(3, true, "");
        vm.expectRevert(abi.encodeWithSelector(PotVault.WrongNonce.selector, 9, 3));
        pot.setPaused(9, true, "");
    }

    /// @dev What a stop stops, and what it does not.
    function stopped(uint256 until) private {
        bytes memory reason = abi.encodeWithSelector(PotVault.Paused.selector, until);
        uint256 nonce = pot.nextNonce();
        vm.expectRevert(reason);
        pot.deposit{value: 1}(alice);
        vm.expectRevert(reason);
        pot.depositToken(alice, 1);
        vm.expectRevert(reason);
        pot.executeBatch(nonce, one(bob), one(uint256(1)), "");
        vm.expectRevert(reason);
        pot.commitRoot(nonce, bytes32(0), 1, "");
        vm.expectRevert(reason);
        pot.claim(bob, 1, new bytes32[](0));
        vm.expectRevert(reason);
        pot.executeTransaction(1);
        vm.expectRevert(reason);
        vm.prank(owner(0));
        pot.pauseByOwner();
    }

    function test_a_stop_leaves_withdrawals_and_rotation() public {
        reward(bob, 5);
        setPaused(true);
        vm.prank(bob);
        pot.withdraw(2);
        vm.prank(bob);
        pot.withdraw();
        eq(bob.balance, 5, "bob");
        keys = keysOf("owner", COUNT);
        rotate(addressesOf(keys), THRESHOLD);
        eq(pot.epoch(), 1, "rotated");
        yes(pot.paused(), "still stopped");
        setPaused(false);
        no(pot.paused(), "going");
    }

    function test_one_owner_stops_the_contract_for_a_day_in_eight() public {
        vm.expectRevert(abi.encodeWithSelector(PotSettlement.NotOwner.selector, alice));
        vm.prank(alice);
        pot.pauseByOwner();
        vm.expectEmit(true, true, true, true, address(pot));
        emit PotSettlement.OwnerPaused(owner(2), START + 1 days);
        vm.prank(owner(2));
        pot.pauseByOwner();
        eq(pot.pausedUntil(), START + 1 days, "until");
        stopped(START + 1 days);
        vm.expectRevert(abi.encodeWithSelector(PotVault.Paused.selector, START + 1 days));
        vm.prank(owner(2));
        pot.pauseByOwner();
        vm.warp(START + 1 days - 1);
        yes(pot.paused(), "the last second");
        vm.warp(START + 1 days);
        no(pot.paused(), "over");
        reward(bob, 1);
        bytes memory used = abi.encodeWithSelector(PotSettlement.OwnerPauseUsed.selector, owner(2), START + 8 days);
        vm.expectRevert(used);
        vm.prank(owner(2));
        pot.pauseByOwner();
        vm.warp(START + 8 days - 1);
        vm.expectRevert(used);
        vm.prank(owner(2));
        pot.pauseByOwner();
        vm.warp(START + 8 days);
        vm.prank(owner(2));
        pot.pauseByOwner();
        yes(pot.paused(), "again");
    }

    function test_the_owners_together_end_the_stop_of_one_who_cannot_repeat_it() public {
        vm.prank(owner(0));
        pot.pauseByOwner();
        setPaused(false);
        no(pot.paused(), "going");
        eq(pot.pausedUntil(), 0, "no end");
        uint256 again = START + 8 days;
        vm.expectRevert(abi.encodeWithSelector(PotSettlement.OwnerPauseUsed.selector, owner(0), again));
        vm.prank(owner(0));
        pot.pauseByOwner();
        vm.prank(owner(1));
        pot.pauseByOwner();
        yes(pot.paused(), "another owner may");
        setPaused(true);
        eq(pot.pausedUntil(), type(uint40).max, "the owners make it last");
    }
}
