// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @notice Everything that changes with an action, in one word, so that an action reads and writes one slot. From the
/// low end: available, 96 bits: deposits promised to nobody yet, in base units; pausedUntil, 40 bits: Unix time in
/// seconds; epoch, 16 bits: rotations so far; nextNonce, 48 bits; nextEventNonce, 56 bits.
/// @dev Fields are added to without a check, since none can run into the next: `available` is at most the sum of all
/// deposits, which the vault bounds by 2^96; the epoch is bounded by the settlement contract; 2^48 actions and 2^56
/// events are out of reach (a million events a second would take two thousand years).
type Book is uint256;

using {available, pausedUntil, epoch, nextNonce, nextEventNonce} for Book global;
using {withDeposit, withPromise, withAction, withPause, withRotation} for Book global;

uint256 constant PAUSED_SHIFT = 96;
uint256 constant ONE_EPOCH = 1 << 136;
uint256 constant ONE_NONCE = 1 << 152;
uint256 constant ONE_EVENT = 1 << 200;

/// @dev Deposits promised to nobody yet, in base units.
function available(Book book) pure returns (uint256) {
    return uint96(Book.unwrap(book));
}

/// @dev Unix time at which the last pause ends, in seconds.
function pausedUntil(Book book) pure returns (uint256) {
    return uint40(Book.unwrap(book) >> PAUSED_SHIFT);
}

/// @dev Number of rotations so far.
function epoch(Book book) pure returns (uint256) {
    return uint16(Book.unwrap(book) / ONE_EPOCH);
}

/// @dev Nonce of the next action of the owners.
function nextNonce(Book book) pure returns (uint256) {
    return uint48(Book.unwrap(book) / ONE_NONCE);
}

/// @dev Event nonce of the next deposit or action.
function nextEventNonce(Book book) pure returns (uint256) {
    return Book.unwrap(book) / ONE_EVENT;
}

/// @dev The book after a deposit; the caller bounds the sum of all deposits.
function withDeposit(Book book, uint256 amount) pure returns (Book) {
    unchecked {
        return Book.wrap(Book.unwrap(book) + amount + ONE_EVENT);
    }
}

/// @dev The book after a promise; the caller has checked that total <= available.
function withPromise(Book book, uint256 total) pure returns (Book) {
    unchecked {
        return Book.wrap(Book.unwrap(book) - total);
    }
}

/// @dev The book after an action of the owners.
function withAction(Book book) pure returns (Book) {
    unchecked {
        return Book.wrap(Book.unwrap(book) + (ONE_NONCE + ONE_EVENT));
    }
}

/// @dev The book with another end of the pause, below 2^40.
function withPause(Book book, uint256 until) pure returns (Book) {
    uint256 others = Book.unwrap(book) & ~(uint256(type(uint40).max) << PAUSED_SHIFT);
    return Book.wrap(others | (until << PAUSED_SHIFT));
}

/// @dev The book one epoch later; the caller bounds the epoch.
function withRotation(Book book) pure returns (Book) {
    unchecked {
        return Book.wrap(Book.unwrap(book) + ONE_EPOCH);
    }
}
