// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Book} from "./Book.sol";
import {PotVault} from "./PotVault.sol";

/// @title Settlement of potchain's payouts through a Safe
/// @author potchain
/// @notice The same deposits, credits and withdrawals as PotSettlement, for operators who already trust a Gnosis Safe:
/// the Safe collects the signatures, this contract obeys it. Owners are rotated in the Safe itself.
contract PotBook is PotVault {
    /// @notice The Safe; only it can credit, commit a root and stop the contract.
    address public immutable owner;

    /// @notice The sender is not the Safe.
    /// @param account The sender.
    error NotOwner(address account);

    /// @dev Refuses everybody but the Safe.
    modifier onlyOwner() {
        if (msg.sender != owner) revert NotOwner(msg.sender);
        _;
    }

    /// @param owner_ The Safe.
    /// @param token_ The ERC-20 token to keep, or zero for the native coin.
    constructor(address owner_, address token_) PotVault(token_) {
        if (owner_ == address(0)) revert ZeroAddress();
        owner = owner_;
    }

    /// @notice Credits a batch of rewards. Not while paused.
    /// @param nonce The contract's next nonce.
    /// @param to Payees, at most MAX_ENTRIES; one may appear more than once.
    /// @param amount Their rewards, in base units.
    function credit(uint256 nonce, address[] calldata to, uint256[] calldata amount) external onlyOwner whenNotPaused {
        Book book = _expect(nonce);
        uint256 total = _creditAll(to, amount);
        _book = _promise(book, total).withAction();
        emit BatchExecuted(book.nextEventNonce(), nonce, total, msg.sender);
    }

    /// @notice Puts a cumulative Merkle root in force. Not while paused.
    /// @param nonce The contract's next nonce.
    /// @param root Root over the leaves (account, all that roots ever promised to it).
    /// @param total Sum of the increases over the previous root, in base units.
    function commitRoot(uint256 nonce, bytes32 root, uint256 total) external onlyOwner whenNotPaused {
        _commit(_expect(nonce), root, total);
    }

    /// @notice Stops the contract until further notice or sets it going.
    /// @param nonce The contract's next nonce.
    /// @param paused_ True to stop.
    function setPaused(uint256 nonce, bool paused_) external onlyOwner {
        _setPaused(_expect(nonce), paused_);
    }
}
