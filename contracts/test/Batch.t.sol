// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {PotSettlement} from "../src/PotSettlement.sol";
import {PotVault} from "../src/PotVault.sol";
import {Fixture} from "./Fixture.sol";

/// @notice executeBatch, and how signatures are checked for every signed action.
contract BatchTest is Fixture {
    function setUp() public override {
        super.setUp();
        deposit(100 * COIN);
    }

    function test_credits_every_entry_and_counts() public {
        address[] memory to = new address[](3);
        uint256[] memory amount = new uint256[](3);
        (to[0], to[1], to[2]) = (alice, bob, alice);
        (amount[0], amount[1], amount[2]) = (5, 7, 11);
        bytes32 digest = batchDigest(0, to, amount);
        eq(pot.batchDigest(0, to, amount), digest, "digest");
        bytes memory signatures = signEnough(digest);
        vm.expectEmit(true, true, true, true, address(pot));
        emit PotVault.Credited(alice, 5);
        vm.expectEmit(true, true, true, true, address(pot));
        emit PotVault.Credited(bob, 7);
        vm.expectEmit(true, true, true, true, address(pot));
        emit PotVault.Credited(alice, 11);
        vm.expectEmit(true, true, true, true, address(pot));
        emit PotVault.BatchExecuted(1, 0, 23, relayer);
        vm.prank(relayer);
        pot.executeBatch(0, to, amount, signatures);
        eq(pot.rewards(alice), 16, "alice");
        eq(pot.rewards(bob), 7, "bob");
        eq(pot.allocated(), 23, "allocated");
        eq(pot.nextNonce(), 1, "nonce");
        eq(pot.nextEventNonce(), 2, "event nonce");
    }

    function test_any_owners_suffice_and_more_than_needed_may_sign() public {
        for (uint256 count = THRESHOLD; count <= COUNT; ++count) {
            for (uint256 first = 0; first + count <= COUNT; ++first) {
                uint256 nonce = pot.nextNonce();
                bytes memory signatures = signBy(first, count, batchDigest(nonce, one(bob), one(uint256(1))));
                pot.executeBatch(nonce, one(bob), one(uint256(1)), signatures);
            }
        }
        eq(pot.rewards(bob), 6, "bob");
    }

    function test_refuses_a_nonce_that_is_not_the_next() public {
        bytes memory signatures = signEnough(batchDigest(1, one(bob), one(uint256(1))));
        vm.expectRevert(abi.encodeWithSelector(PotVault.WrongNonce.selector, 1, 0));
        pot.executeBatch(1, one(bob), one(uint256(1)), signatures);
        signatures = signEnough(batchDigest(0, one(bob), one(uint256(1))));
        pot.executeBatch(0, one(bob), one(uint256(1)), signatures);
        vm.expectRevert(abi.encodeWithSelector(PotVault.WrongNonce.selector, 0, 1));
        pot.executeBatch(0, one(bob), one(uint256(1)), signatures);
    }

    function test_refuses_entries_that_make_no_sense() public {
        vm.expectRevert(abi.encodeWithSelector(PotVault.LengthsDiffer.selector, 1, 0));
        pot.executeBatch(0, one(bob), new uint256[](0), "");
        vm.expectRevert(abi.encodeWithSelector(PotVault.BadBatchSize.selector, 0, 500));
        pot.executeBatch(0, new address[](0), new uint256[](0), "");
        vm.expectRevert(abi.encodeWithSelector(PotVault.BadBatchSize.selector, 501, 500));
        pot.executeBatch(0, new address[](501), new uint256[](501), "");
        vm.expectRevert(abi.encodeWithSelector(PotVault.ZeroAddress.selector));
        pot.executeBatch(0, one(address(0)), one(uint256(1)), "");
        vm.expectRevert(abi.encodeWithSelector(PotVault.ZeroAmount.selector));
        pot.executeBatch(0, one(bob), one(uint256(0)), "");
        uint256[] memory amount = new uint256[](2);
        (amount[0], amount[1]) = (type(uint256).max, 2);
        address[] memory to = new address[](2);
        (to[0], to[1]) = (alice, bob);
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x11));
        pot.executeBatch(0, to, amount, "");
    }

    function test_takes_the_longest_batch() public {
        address[] memory to = new address[](500);
        uint256[] memory amount = new uint256[](500);
        for (uint256 i = 0; i < 500; ++i) {
            (to[i], amount[i]) = (address(uint160(i + 1)), i + 1);
        }
        bytes memory signatures = signEnough(batchDigest(0, to, amount));
        pot.executeBatch(0, to, amount, signatures);
        eq(pot.allocated(), 125_250, "sum");
        eq(pot.rewards(address(uint160(500))), 500, "last");
    }

    function test_refuses_more_than_is_deposited_and_takes_all_of_it() public {
        bytes memory signatures = signEnough(batchDigest(0, one(bob), one(100 * COIN + 1)));
        bytes memory reason = abi.encodeWithSelector(PotVault.ExceedsDeposits.selector, 100 * COIN + 1, 100 * COIN);
        vm.expectRevert(reason);
        pot.executeBatch(0, one(bob), one(100 * COIN + 1), signatures);
        reward(bob, 100 * COIN);
        signatures = signEnough(batchDigest(1, one(bob), one(uint256(1))));
        vm.expectRevert(abi.encodeWithSelector(PotVault.ExceedsDeposits.selector, 1, 0));
        pot.executeBatch(1, one(bob), one(uint256(1)), signatures);
    }

    /// @dev Expects that a batch of one for bob is refused with `reason`.
    function refused(bytes memory signatures, bytes memory reason) private {
        vm.expectRevert(reason);
        pot.executeBatch(0, one(bob), one(uint256(9)), signatures);
        eq(pot.rewards(bob), 0, "nothing was credited");
    }

    function digestOfNine() private view returns (bytes32) {
        return batchDigest(0, one(bob), one(uint256(9)));
    }

    function test_refuses_too_few_signatures() public {
        refused("", abi.encodeWithSelector(PotSettlement.TooFewSignatures.selector, 0, 3));
        bytes memory two = signBy(0, 2, digestOfNine());
        refused(two, abi.encodeWithSelector(PotSettlement.TooFewSignatures.selector, 130, 3));
        bytes memory broken = abi.encodePacked(signBy(0, 3, digestOfNine()), hex"00");
        refused(broken, abi.encodeWithSelector(PotSettlement.TooFewSignatures.selector, 196, 3));
    }

    function test_refuses_an_owner_twice_and_owners_in_another_order() public {
        uint256[] memory some = new uint256[](3);
        (some[0], some[1], some[2]) = (keys[0], keys[1], keys[1]);
        bytes memory reason =
            abi.encodeWithSelector(PotSettlement.SignersNotAscending.selector, owner(1), owner(1));
        refused(sign(some, digestOfNine()), reason);
        (some[0], some[1], some[2]) = (keys[2], keys[1], keys[0]);
        reason = abi.encodeWithSelector(PotSettlement.SignersNotAscending.selector, owner(2), owner(1));
        refused(sign(some, digestOfNine()), reason);
        (some[0], some[1], some[2]) = (keys[4], keys[4], keys[4]);
        reason = abi.encodeWithSelector(PotSettlement.SignersNotAscending.selector, owner(4), owner(4));
        refused(sign(some, digestOfNine()), reason);
    }

    function test_refuses_a_stranger_wherever_it_stands_among_the_owners() public {
        for (uint256 i = 0; i < 20; ++i) {
            uint256 stranger = uint256(keccak256(abi.encode("stranger", i)));
            uint256[] memory some = new uint256[](4);
            uint256 slot = 0;
            bool placed = false;
            for (uint256 k = 0; k < 3; ++k) {
                if (!placed && vm.addr(stranger) < owner(k + 1)) {
                    some[slot++] = stranger;
                    placed = true;
                }
                some[slot++] = keys[k + 1];
            }
            if (!placed) some[3] = stranger;
            bytes memory reason = abi.encodeWithSelector(PotSettlement.NotOwner.selector, vm.addr(stranger));
            refused(sign(some, digestOfNine()), reason);
        }
    }

    function test_refuses_a_signature_of_something_else() public {
        // Another digest recovers to an address that is no owner; which one cannot be foretold here.
        bytes memory signatures = signEnough(keccak256("something else"));
        try pot.executeBatch(0, one(bob), one(uint256(9)), signatures) {
            yes(false, "was executed");
        } catch (bytes memory reason) {
            bytes4 selector = bytes4(reason);
            yes(
                selector == PotSettlement.NotOwner.selector || selector == PotSettlement.SignersNotAscending.selector,
                "reason"
            );
        }
    }

    function test_refuses_what_is_no_signature() public {
        bytes memory rubbish = new bytes(195);
        refused(rubbish, badSignature(0, ECDSA.RecoverError.InvalidSignature));
        bytes memory signatures = signBy(0, 3, digestOfNine());
        signatures[64] = bytes1(uint8(29));
        refused(signatures, badSignature(0, ECDSA.RecoverError.InvalidSignature));
        signatures = signBy(0, 3, digestOfNine());
        signatures[64] = bytes1(uint8(signatures[64]) - 27);
        refused(signatures, badSignature(0, ECDSA.RecoverError.InvalidSignature));
    }

    function test_refuses_s_in_the_upper_half() public {
        bytes32 digest = digestOfNine();
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(keys[2], digest);
        uint256 order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
        bytes memory high = abi.encodePacked(r, bytes32(order - uint256(s)), v == 27 ? uint8(28) : uint8(27));
        bytes memory signatures = abi.encodePacked(signBy(0, 2, digest), high);
        refused(signatures, badSignature(2, ECDSA.RecoverError.InvalidSignatureS));
    }

    function badSignature(uint256 position, ECDSA.RecoverError reason) private pure returns (bytes memory) {
        return abi.encodeWithSelector(PotSettlement.BadSignature.selector, position, reason);
    }

    function test_a_signature_is_for_one_contract_and_one_chain() public {
        bytes memory signatures = signEnough(digestOfNine());
        PotSettlement other = new PotSettlement(addressesOf(keys), THRESHOLD, address(0), false);
        other.deposit{value: COIN}(alice);
        no(other.domainSeparator() == pot.domainSeparator(), "separators");
        try other.executeBatch(0, one(bob), one(uint256(9)), signatures) {
            yes(false, "executed on another contract");
        } catch {}
        bytes32 here = pot.domainSeparator();
        vm.chainId(CHAIN + 1);
        no(here == pot.domainSeparator(), "separator of the fork");
        try pot.executeBatch(0, one(bob), one(uint256(9)), signatures) {
            yes(false, "executed on another chain");
        } catch {}
        pot.executeBatch(0, one(bob), one(uint256(9)), signEnough(digestOfNine()));
        vm.chainId(CHAIN);
        eq(here, pot.domainSeparator(), "separator again");
    }

    function testFuzz_credits_what_was_signed(uint96[] calldata figures, uint160 first) public {
        vm.assume(figures.length > 0 && figures.length <= 40);
        address[] memory to = new address[](figures.length);
        uint256[] memory amount = new uint256[](figures.length);
        uint256 total;
        for (uint256 i = 0; i < figures.length; ++i) {
            unchecked {
                to[i] = address(uint160(within(uint256(first) + i % 7, 1, type(uint160).max)));
            }
            amount[i] = within(figures[i], 1, COIN);
            total += amount[i];
        }
        bytes memory signatures = signEnough(batchDigest(0, to, amount));
        pot.executeBatch(0, to, amount, signatures);
        eq(pot.allocated(), total, "allocated");
        uint256 credited;
        for (uint256 i = 0; i < figures.length && i < 7; ++i) {
            credited += pot.rewards(to[i]);
        }
        eq(credited, total, "credited");
    }

    function testFuzz_refuses_any_changed_byte(uint256 position, uint8 change) public {
        bytes memory signatures = signEnough(digestOfNine());
        position = within(position, 0, signatures.length - 1);
        vm.assume(change != 0);
        signatures[position] = bytes1(uint8(signatures[position]) ^ change);
        try pot.executeBatch(0, one(bob), one(uint256(9)), signatures) {
            yes(false, "executed");
        } catch {}
    }
}
