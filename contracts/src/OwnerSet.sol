// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title A sorted set of owners with its threshold, kept as the code of an account of its own
/// @author potchain
/// @notice Written once per epoch and read whole: 2,600 gas for the account and 3 per word, against 2,100 for every
/// owner in storage, and a fifth of storage's price to write.
/// @dev The code is one zero byte, which is the instruction STOP, so that a call does nothing; then one byte threshold;
/// then 20 bytes for each owner, in increasing order; then 20 bytes 0xff, the end mark, at which a search stops. The
/// set of epoch e is the (e + 1)-th account that the contract creates, so its address need not be stored: it follows
/// from e (addressOf).
///
/// Assembly creates the account, for which Solidity has no other means, and reads the set in memory; nothing else.
library OwnerSet {
    /// @notice Owners are not in strictly increasing order; or one is zero or appears twice, which is the same.
    /// @param previous The owner before (zero for the first).
    /// @param owner The owner that must be larger.
    error OwnersNotAscending(address previous, address owner);
    /// @notice The contract cannot own itself.
    /// @param owner Its address.
    error SelfOwner(address owner);
    /// @notice There are no owners, or too many.
    /// @param owners Their number.
    /// @param most The most that is allowed.
    error BadOwnerCount(uint256 owners, uint256 most);
    /// @notice The threshold is zero or larger than the number of owners.
    /// @param threshold The threshold.
    /// @param owners The number of owners.
    error BadThreshold(uint256 threshold, uint256 owners);
    /// @notice The account for the set could not be created.
    error OwnerSetNotCreated();

    /// @dev Creation code in front of the data; returns what follows it as the account's code. With the two bytes of
    /// the data's length in the middle: PUSH2 length, DUP1, PUSH1 12, PUSH1 0, CODECOPY, PUSH1 0, RETURN.
    bytes1 private constant PUSH2 = 0x61;
    bytes9 private constant COPY_AND_RETURN = 0x80600c6000396000f3;

    /// @dev Bytes of one owner in a set.
    uint256 internal constant OWNER_BYTES = 20;

    bytes20 private constant END = bytes20(type(uint160).max);

    /// @dev Checks the owners and writes them into a new account. The n-th call must be for epoch n - 1, and the
    /// contract must create no other account.
    /// @param owners In strictly increasing order.
    /// @param threshold Signatures needed.
    /// @param most The largest number of owners allowed, at most 255.
    function store(address[] memory owners, uint256 threshold, uint256 most) internal {
        uint256 count = owners.length;
        if (count == 0 || count > most) revert BadOwnerCount(count, most);
        if (threshold == 0 || threshold > count) revert BadThreshold(threshold, count);
        bytes memory data = abi.encodePacked(uint16(threshold));
        address previous = address(0);
        for (uint256 i = 0; i < count; ++i) {
            address owner = owners[i];
            if (owner <= previous) revert OwnersNotAscending(previous, owner);
            if (owner == address(this)) revert SelfOwner(owner);
            data = abi.encodePacked(data, owner);
            previous = owner;
        }
        unchecked {
            // At most 2 + 256 * 20 bytes.
            data = abi.encodePacked(PUSH2, uint16(data.length + 20), COPY_AND_RETURN, data, END);
        }
        address account;
        // slither-disable-next-line assembly
        assembly ("memory-safe") {
            account := create(0, add(data, 32), mload(data))
        }
        if (account == address(0)) revert OwnerSetNotCreated();
    }

    /// @dev Address of the account that holds the set of an epoch: keccak256(rlp([this, epoch + 1])), by which CREATE
    /// names the accounts that a contract makes (yellow paper, section 7; the nonce starts at 1: EIP-161).
    /// @param epoch The epoch, below 2^16 - 1.
    /// @return account The account.
    function addressOf(uint256 epoch) internal view returns (address account) {
        unchecked {
            uint256 nonce = epoch + 1;
            // A list of 22 to 24 bytes: the address with its length, and the nonce, which below 128 is its own encoding
            // and has its length, 0x81 or 0x82, in front from there on.
            uint256 rlp = (0xd694 << 240) | (uint256(uint160(address(this))) << 80) | (nonce << 72);
            uint256 length = 23;
            if (nonce >= 0x80 && nonce < 0x100) {
                rlp = (0xd794 << 240) | (uint256(uint160(address(this))) << 80) | (0x81 << 72) | (nonce << 64);
                length = 24;
            } else if (nonce >= 0x100) {
                rlp = (0xd894 << 240) | (uint256(uint160(address(this))) << 80) | (0x82 << 72) | (nonce << 56);
                length = 25;
            }
            // slither-disable-next-line assembly
            assembly ("memory-safe") {
                mstore(0, rlp)
                account := keccak256(0, length)
            }
        }
    }

    /// @dev Reads the set of an epoch.
    /// @param epoch The epoch.
    /// @return The set, for the functions below.
    function load(uint256 epoch) internal view returns (bytes memory) {
        return addressOf(epoch).code;
    }

    /// @dev Signatures needed.
    /// @param set The set.
    /// @return threshold Their number.
    function thresholdOf(bytes memory set) internal pure returns (uint256 threshold) {
        // slither-disable-next-line assembly
        assembly ("memory-safe") {
            threshold := byte(1, mload(add(set, 32)))
        }
    }

    /// @dev Number of owners in a set.
    /// @param set The set.
    /// @return The number.
    function size(bytes memory set) internal pure returns (uint256) {
        unchecked {
            return set.length / 20 - 1;
        }
    }

    /// @dev Where the first owner stands in memory.
    /// @param set The set.
    /// @return cursor Memory address, for get() and find(); the next owner stands 20 bytes behind it.
    function start(bytes memory set) internal pure returns (uint256 cursor) {
        // slither-disable-next-line assembly
        assembly ("memory-safe") {
            cursor := add(set, 34)
        }
    }

    /// @dev The owner at a place in memory.
    /// @param cursor From start() or find(), within the set.
    /// @return owner The owner's address as a number.
    function get(uint256 cursor) internal pure returns (uint256 owner) {
        // Reads 20 bytes of the set; the 12 behind them, which may lie behind the set, are dropped.
        // slither-disable-next-line assembly
        assembly ("memory-safe") {
            owner := shr(96, mload(cursor))
        }
    }

    /// @dev Looks an account up among the owners from a place on. Who looks up accounts in increasing order goes on
    /// behind the place found before, and walks through the set once.
    /// @param cursor The place to begin at.
    /// @param account The account's address as a number.
    /// @return Place of the first owner that is not smaller, or of the end mark; the account is an owner if it is that
    /// owner.
    function find(uint256 cursor, uint256 account) internal pure returns (uint256) {
        // Compares whole words, an owner and 12 more bytes with the account and 12 zero bytes: less if and only if the
        // owner is. Ends at the end mark, which no account exceeds.
        // slither-disable-next-line assembly
        assembly ("memory-safe") {
            let key := shl(96, account)
            for {} lt(mload(cursor), key) { cursor := add(cursor, 20) } {}
        }
        return cursor;
    }
}
