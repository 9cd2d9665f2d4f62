// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {PotSettlement} from "../src/PotSettlement.sol";
import {Checks} from "./Checks.sol";

/// @notice A settlement of five owners and a threshold of three, with everything that signing for it takes.
abstract contract Fixture is Checks {
    uint256 internal constant COUNT = 5;
    uint256 internal constant THRESHOLD = 3;
    uint256 internal constant COIN = 1e18;
    /// @dev Time and chain in literals: the optimizer takes block.timestamp and block.chainid for constants of a
    /// transaction.
    uint256 internal constant START = 1_800_000_000;
    uint256 internal constant CHAIN = 31_337;

    PotSettlement internal pot;
    /// @dev Keys of the owners, in increasing order of their addresses.
    uint256[] internal keys;
    address internal alice = address(0xa11ce);
    address internal bob = address(0xb0b);
    address internal relayer = address(0x4e1a);

    function setUp() public virtual {
        vm.warp(START);
        keys = keysOf("owner", COUNT);
        pot = new PotSettlement(addressesOf(keys), THRESHOLD, address(0), true);
        vm.deal(address(this), 1_000_000 * COIN);
        vm.deal(relayer, COIN);
    }

    /// @dev Keys named keccak256("key" name number), sorted by address.
    function keysOf(string memory name, uint256 count) internal pure returns (uint256[] memory made) {
        made = new uint256[](count);
        address[] memory owners = new address[](count);
        for (uint256 i = 0; i < count; ++i) {
            uint256 key = uint256(keccak256(abi.encodePacked("key", name, i)));
            address account = vm.addr(key);
            uint256 place = i;
            for (; place > 0 && owners[place - 1] > account; --place) {
                (made[place], owners[place]) = (made[place - 1], owners[place - 1]);
            }
            (made[place], owners[place]) = (key, account);
        }
    }

    function addressesOf(uint256[] memory some) internal pure returns (address[] memory made) {
        made = new address[](some.length);
        for (uint256 i = 0; i < some.length; ++i) {
            made[i] = vm.addr(some[i]);
        }
    }

    function owner(uint256 index) internal view returns (address) {
        return vm.addr(keys[index]);
    }

    /// @dev Signatures of the keys, in their order.
    function sign(uint256[] memory some, bytes32 digest) internal pure returns (bytes memory signatures) {
        for (uint256 i = 0; i < some.length; ++i) {
            (uint8 v, bytes32 r, bytes32 s) = vm.sign(some[i], digest);
            signatures = abi.encodePacked(signatures, r, s, v);
        }
    }

    /// @dev Signatures of owners first, first + 1, ... (count of them).
    function signBy(uint256 first, uint256 count, bytes32 digest) internal view returns (bytes memory) {
        uint256[] memory some = new uint256[](count);
        for (uint256 i = 0; i < count; ++i) {
            some[i] = keys[first + i];
        }
        return sign(some, digest);
    }

    function signEnough(bytes32 digest) internal view returns (bytes memory) {
        return signBy(1, THRESHOLD, digest);
    }

    /// @dev The EIP-712 digest for the contract, made here independently of it.
    function typed(bytes32 structHash) internal view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("PotSettlement"),
                keccak256("1"),
                block.chainid,
                address(pot)
            )
        );
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }

    function batchDigest(uint256 nonce, address[] memory to, uint256[] memory amount) internal view returns (bytes32) {
        uint256 total;
        for (uint256 i = 0; i < amount.length; ++i) {
            total += amount[i];
        }
        bytes32 entriesHash = keccak256(abi.encode(to, amount));
        bytes32 kind = keccak256("RewardBatch(uint256 nonce,uint256 epoch,bytes32 entriesHash,uint256 total)");
        return typed(keccak256(abi.encode(kind, nonce, pot.epoch(), entriesHash, total)));
    }

    function rootDigest(uint256 nonce, bytes32 root, uint256 total) internal view returns (bytes32) {
        bytes32 kind = keccak256("MerkleCommit(uint256 nonce,uint256 epoch,bytes32 root,uint256 total)");
        return typed(keccak256(abi.encode(kind, nonce, pot.epoch(), root, total)));
    }

    function rotationDigest(uint256 nonce, address[] memory owners, uint256 threshold) internal view returns (bytes32) {
        bytes32 kind = keccak256("RotateOwners(uint256 nonce,uint256 epoch,bytes32 ownersHash,uint256 threshold)");
        return typed(keccak256(abi.encode(kind, nonce, pot.epoch(), keccak256(abi.encode(owners)), threshold)));
    }

    function pauseDigest(uint256 nonce, bool paused) internal view returns (bytes32) {
        bytes32 kind = keccak256("SetPaused(uint256 nonce,uint256 epoch,bool paused)");
        return typed(keccak256(abi.encode(kind, nonce, pot.epoch(), paused)));
    }

    function one(address account) internal pure returns (address[] memory list) {
        list = new address[](1);
        list[0] = account;
    }

    function one(uint256 number) internal pure returns (uint256[] memory list) {
        list = new uint256[](1);
        list[0] = number;
    }

    function deposit(uint256 amount) internal {
        pot.deposit{value: amount}(alice);
    }

    /// @dev Credits one account by the next batch.
    function reward(address to, uint256 amount) internal {
        uint256 nonce = pot.nextNonce();
        bytes memory signatures = signEnough(batchDigest(nonce, one(to), one(amount)));
        pot.executeBatch(nonce, one(to), one(amount), signatures);
    }

    function rotate(address[] memory owners, uint256 threshold) internal {
        uint256 nonce = pot.nextNonce();
        bytes memory signatures = signEnough(rotationDigest(nonce, owners, threshold));
        pot.rotateOwners(nonce, owners, threshold, signatures);
    }

    function setPaused(bool paused) internal {
        uint256 nonce = pot.nextNonce();
        bytes memory signatures = signEnough(pauseDigest(nonce, paused));
        pot.setPaused(nonce, paused, signatures);
    }

    function leaf(address account, uint256 cumulative) internal pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(account, cumulative))));
    }

    function pair(bytes32 left, bytes32 right) internal pure returns (bytes32) {
        return left < right ? keccak256(abi.encode(left, right)) : keccak256(abi.encode(right, left));
    }
}
