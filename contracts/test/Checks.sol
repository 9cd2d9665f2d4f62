// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @notice What the tests use of forge's cheat codes.
interface Vm {
    struct Log {
        bytes32[] topics;
        bytes data;
        address emitter;
    }

    function addr(uint256 key) external pure returns (address);
    function sign(uint256 key, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function prank(address sender) external;
    function deal(address account, uint256 balance) external;
    function warp(uint256 time) external;
    function chainId(uint256 id) external;
    function etch(address account, bytes calldata code) external;
    function getNonce(address account) external view returns (uint64);
    function setNonce(address account, uint64 nonce) external;
    function setNonceUnsafe(address account, uint64 nonce) external;
    function load(address account, bytes32 slot) external view returns (bytes32);
    function store(address account, bytes32 slot, bytes32 value) external;
    function recordLogs() external;
    function getRecordedLogs() external returns (Log[] memory);
    function expectRevert(bytes calldata data) external;
    function expectEmit(bool topic1, bool topic2, bool topic3, bool data, address emitter) external;
    function assume(bool condition) external pure;
}

/// @notice The least that a test needs: cheat codes and comparisons that say what differs.
abstract contract Checks {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    error Different(string what, uint256 one, uint256 other);
    error Untrue(string what);

    function eq(uint256 one, uint256 other, string memory what) internal pure {
        if (one != other) revert Different(what, one, other);
    }

    function eq(address one, address other, string memory what) internal pure {
        if (one != other) revert Different(what, uint160(one), uint160(other));
    }

    function eq(bytes32 one, bytes32 other, string memory what) internal pure {
        if (one != other) revert Different(what, uint256(one), uint256(other));
    }

    function yes(bool condition, string memory what) internal pure {
        if (!condition) revert Untrue(what);
    }

    function no(bool condition, string memory what) internal pure {
        if (condition) revert Untrue(what);
    }

    /// @dev A number in [low, high] made of any number.
    function within(uint256 number, uint256 low, uint256 high) internal pure returns (uint256) {
        return low + number % (high - low + 1);
    }
}
