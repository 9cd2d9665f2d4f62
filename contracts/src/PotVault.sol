// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Book} from "./Book.sol";

/// @title The money of potchain's settlement: deposits in, credits, withdrawals out
/// @author potchain
/// @notice Keeps deposits of one asset (the native coin or one ERC-20 token) and the rewards credited from them. Who
/// may credit is for the inheriting contract to say: owners by signatures (PotSettlement) or a Safe (PotBook).
/// @dev Theory of operation.
///
/// Three figures describe the asset held: `deposited` (ever received through a deposit), `allocated` (ever promised to
/// somebody, as a credit or in a Merkle root) and the sum of what was withdrawn. New promises are bounded by
/// `deposited - allocated`, credits from a root by what the roots promised and nobody claimed yet (`claimable`), and a
/// withdrawal by the account's own credit. Hence, whatever the signers sign,
///
///     balance >= sum of rewards + claimable + (deposited - allocated)
///
/// so that a credit once given can always be withdrawn. Coins forced in without a deposit only add to the balance. A
/// token must not take coins away from its holders (rebasing downwards); one that keeps a fee of transfers is credited
/// net.
///
/// Payees pull (`withdraw`), so that no payee can block a batch, and nothing blocks a withdrawal: not a pause either.
///
/// The sum of all deposits is bounded by 2^96 - 1 base units (79 thousand million coins of 18 decimals), so that what
/// is promised to nobody, the nonces and the pause fit one slot (Book.sol), the only one that every action reads and
/// writes.
abstract contract PotVault is ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @dev Most entries of one batch. 500 new recipients cost less than the 16.78 million gas that EIP-7825 allows a
    /// transaction.
    uint256 private constant MAX_ENTRIES = 500;

    /// @notice The ERC-20 token that is kept here; zero is the native coin.
    address public immutable token;

    /// @dev The one word that every action reads and writes.
    Book internal _book;

    /// @notice All that was ever deposited, in base units.
    uint256 public deposited;

    /// @notice Credited to the account and not withdrawn yet, in base units of the asset.
    mapping(address account => uint256 amount) public rewards;

    /// @notice The cumulative Merkle root in force; zero before the first.
    bytes32 public committedRoot;

    /// @notice Promised by the roots so far and not claimed yet, in base units.
    uint256 public claimable;

    /// @notice Credited to the account from Merkle roots so far, in base units.
    mapping(address account => uint256 amount) public claimed;

    /// @notice A deposit arrived.
    /// @param eventNonce Position in the gapless sequence of deposits and signed actions; the first is 0.
    /// @param account Account on the ledger that is to be credited.
    /// @param amount What arrived, in base units.
    event Deposit(uint256 indexed eventNonce, address indexed account, uint256 amount);

    /// @notice A batch of rewards was credited.
    /// @param eventNonce Position in the gapless sequence of deposits and signed actions.
    /// @param nonce The batch's own place in the sequence of signed actions.
    /// @param total Sum of the batch, in base units.
    /// @param relayer Who sent it.
    event BatchExecuted(uint256 indexed eventNonce, uint256 indexed nonce, uint256 total, address relayer);

    /// @notice A new cumulative Merkle root is in force.
    /// @param eventNonce Position in the gapless sequence of deposits and signed actions.
    /// @param nonce The commit's place in the sequence of signed actions.
    /// @param root The root.
    /// @param total Sum of the increases over the previous root, in base units.
    /// @param relayer Who sent it.
    event RootCommitted(
        uint256 indexed eventNonce, uint256 indexed nonce, bytes32 root, uint256 total, address relayer
    );

    /// @notice The signers stopped the contract, or set it going again.
    /// @param eventNonce Position in the gapless sequence of deposits and signed actions.
    /// @param nonce The action's place in the sequence of signed actions.
    /// @param paused True: stopped until the signers say otherwise.
    event PauseSet(uint256 indexed eventNonce, uint256 indexed nonce, bool paused);

    /// @notice An account may withdraw more.
    /// @param account The payee.
    /// @param amount The increase, in base units.
    event Credited(address indexed account, uint256 amount);

    /// @notice An account withdrew.
    /// @param account The payee.
    /// @param amount What left the contract, in base units.
    event Withdrawn(address indexed account, uint256 amount);

    /// @notice An account's share of the Merkle root was credited.
    /// @param account The payee.
    /// @param amount The increase, in base units.
    event Claimed(address indexed account, uint256 amount);

    /// @notice The contract is stopped.
    /// @param until Unix time at which the stop ends by itself, in seconds; the largest value means never.
    error Paused(uint256 until);
    /// @notice A signed action is not the next one: it was executed before, or one before it is missing.
    /// @param given The action's nonce.
    /// @param expected The contract's next nonce.
    error WrongNonce(uint256 given, uint256 expected);
    /// @notice More is promised than deposits cover.
    /// @param total What is asked for, in base units.
    /// @param available Deposits not promised to anybody yet, in base units.
    error ExceedsDeposits(uint256 total, uint256 available);
    /// @notice An address that must be somebody's is zero.
    error ZeroAddress();
    /// @notice An amount or a sum is zero.
    error ZeroAmount();
    /// @notice The arrays of payees and amounts are not of the same length.
    /// @param payees Number of payees.
    /// @param amounts Number of amounts.
    error LengthsDiffer(uint256 payees, uint256 amounts);
    /// @notice A batch is empty or too long.
    /// @param entries Its number of entries.
    /// @param most The most that is allowed.
    error BadBatchSize(uint256 entries, uint256 most);
    /// @notice A withdrawal asks for more than the account's rewards, or there are none.
    /// @param account The account.
    /// @param asked What is asked for, in base units.
    /// @param held What it has, in base units.
    error InsufficientRewards(address account, uint256 asked, uint256 held);
    /// @notice The branch does not lead from the leaf to the committed root.
    /// @param account Account in the leaf.
    /// @param cumulative Amount in the leaf, in base units.
    error BadProof(address account, uint256 cumulative);
    /// @notice The leaf promises no more than was credited before.
    /// @param account The account.
    /// @param already Credited to it from roots so far, in base units.
    error NothingToClaim(address account, uint256 already);
    /// @notice The committed tree promises more than its signed total.
    /// @param asked The claim's increase, in base units.
    /// @param remaining What is left of the roots' totals, in base units.
    error ExceedsCommitted(uint256 asked, uint256 remaining);
    /// @notice The contract keeps a token: use depositToken.
    /// @param token The token.
    error TokenExpected(address token);
    /// @notice The contract keeps the native coin: use deposit.
    error NativeExpected();
    /// @notice The token's address has no code.
    /// @param token The address.
    error NotAContract(address token);
    /// @notice Coins were sent without naming the account that they are for: use deposit.
    error DepositWithoutAccount();
    /// @notice The sum of all deposits would not fit 96 bits.
    /// @param deposited The sum before, in base units.
    /// @param amount The deposit, in base units.
    error DepositsFull(uint256 deposited, uint256 amount);

    /// @dev Refuses while the contract is paused.
    modifier whenNotPaused() {
        _requireNotPaused(_book);
        _;
    }

    /// @param token_ The ERC-20 token to keep, or zero for the native coin.
    constructor(address token_) {
        if (token_ != address(0) && token_.code.length == 0) revert NotAContract(token_);
        token = token_;
    }

    /// @notice Refuses bare transfers: a deposit must name the account it is for.
    receive() external payable {
        revert DepositWithoutAccount();
    }

    /// @notice Deposits native coins for an account on the ledger. Not while paused.
    /// @param account The account to credit on the ledger.
    function deposit(address account) external payable whenNotPaused {
        if (token != address(0)) revert TokenExpected(token);
        _recordDeposit(account, msg.value);
    }

    /// @notice Deposits tokens, which the sender has approved before, for an account on the ledger. Not while paused.
    /// @dev Counts what arrived, so that a token that keeps a fee cannot make the contract promise more than it has.
    /// @param account The account to credit on the ledger.
    /// @param amount What to take from the sender, in base units.
    function depositToken(address account, uint256 amount) external nonReentrant whenNotPaused {
        if (token == address(0)) revert NativeExpected();
        IERC20 asset = IERC20(token);
        uint256 before = asset.balanceOf(address(this));
        asset.safeTransferFrom(msg.sender, address(this), amount);
        _recordDeposit(account, asset.balanceOf(address(this)) - before);
    }

    /// @notice Withdraws everything that is credited to the sender. Never blocked by a pause.
    /// @dev Clears the slot, which earns a refund; the next credit then pays for a new slot. See the other withdraw.
    function withdraw() external nonReentrant {
        _withdraw(rewards[msg.sender]);
    }

    /// @notice Withdraws a part of what is credited to the sender. Never blocked by a pause.
    /// @dev Who leaves one base unit keeps the slot in use, and the next credit costs about 17,000 gas less.
    /// @param amount What to withdraw, in base units.
    function withdraw(uint256 amount) external nonReentrant {
        _withdraw(amount);
    }

    /// @notice Credits an account's share of the committed Merkle root. Anybody may send it. Not while paused.
    /// @param account The account in the leaf.
    /// @param cumulative The leaf's amount: all that roots ever promised to the account, in base units.
    /// @param proof The branch from the leaf to the root, pairs sorted (OpenZeppelin's MerkleProof).
    function claim(address account, uint256 cumulative, bytes32[] calldata proof) external whenNotPaused {
        bytes32 leaf = keccak256(bytes.concat(keccak256(abi.encode(account, cumulative))));
        if (!MerkleProof.verifyCalldata(proof, committedRoot, leaf)) revert BadProof(account, cumulative);
        uint256 already = claimed[account];
        if (cumulative <= already) revert NothingToClaim(account, already);
        uint256 remaining = claimable;
        unchecked {
            // Bounded by the two conditions; rewards by the sum of all deposits, below 2^96.
            uint256 increase = cumulative - already;
            if (increase > remaining) revert ExceedsCommitted(increase, remaining);
            claimable = remaining - increase;
            claimed[account] = cumulative;
            rewards[account] += increase;
            emit Claimed(account, increase);
        }
    }

    /// @notice Nonce of the next signed action.
    /// @return The nonce; the first is 0.
    function nextNonce() external view returns (uint256) {
        return _book.nextNonce();
    }

    /// @notice Event nonce that the next deposit or signed action will carry.
    /// @return The event nonce; the first is 0.
    function nextEventNonce() external view returns (uint256) {
        return _book.nextEventNonce();
    }

    /// @notice All that was ever promised: credited directly, or committed by a Merkle root.
    /// @return The sum, in base units.
    function allocated() external view returns (uint256) {
        return deposited - _book.available();
    }

    /// @notice Whether the contract is stopped now.
    /// @return True if it is.
    function paused() external view returns (bool) {
        // slither-disable-next-line timestamp
        return block.timestamp < _book.pausedUntil();
    }

    /// @notice When the present stop ends, or the last one ended.
    /// @return Unix time in seconds; 0 for never stopped, the largest uint40 for no end set.
    function pausedUntil() external view returns (uint256) {
        return _book.pausedUntil();
    }

    /// @dev The book, if `nonce` is the next. Called first of all, so that a relayer who comes second pays little.
    function _expect(uint256 nonce) internal view returns (Book book) {
        book = _book;
        if (nonce != book.nextNonce()) revert WrongNonce(nonce, book.nextNonce());
    }

    /// @dev The book after an action that promises `total`.
    function _promise(Book book, uint256 total) internal pure returns (Book) {
        if (total > book.available()) revert ExceedsDeposits(total, book.available());
        return book.withPromise(total);
    }

    /// @dev Sum of a batch, in base units.
    function _totalOf(uint256[] calldata amount) internal pure returns (uint256 total) {
        for (uint256 i = 0; i < amount.length; ++i) {
            total += amount[i];
        }
    }

    /// @dev Credits a batch, entry by entry in its order, and returns its sum for the caller to promise: a batch that
    /// turns out to be unsigned or too large reverts as a whole. One walk instead of two saves 3% of the gas.
    function _creditAll(address[] calldata to, uint256[] calldata amount) internal returns (uint256 total) {
        uint256 entries = to.length;
        if (entries != amount.length) revert LengthsDiffer(entries, amount.length);
        if (entries == 0 || entries > MAX_ENTRIES) revert BadBatchSize(entries, MAX_ENTRIES);
        for (uint256 i = 0; i < entries; ++i) {
            address account = to[i];
            uint256 value = amount[i];
            if (account == address(0)) revert ZeroAddress();
            if (value == 0) revert ZeroAmount();
            total += value;
            _credit(account, value);
        }
    }

    /// @dev Credits one account; the caller promises the amount.
    function _credit(address account, uint256 amount) internal {
        unchecked {
            // Cannot wrap: the sum of all credits is at most that of all deposits, below 2^96, or the transaction
            // reverts.
            rewards[account] += amount;
        }
        emit Credited(account, amount);
    }

    /// @dev Puts a root in force and promises its total.
    function _commit(Book book, bytes32 root, uint256 total) internal {
        if (total == 0) revert ZeroAmount();
        _book = _promise(book, total).withAction();
        committedRoot = root;
        unchecked {
            // At most the sum of all deposits, below 2^96.
            claimable += total;
        }
        emit RootCommitted(book.nextEventNonce(), book.nextNonce(), root, total, msg.sender);
    }

    /// @dev Stops the contract until further notice or sets it going.
    function _setPaused(Book book, bool paused_) internal {
        _book = book.withPause(paused_ ? type(uint40).max : 0).withAction();
        emit PauseSet(book.nextEventNonce(), book.nextNonce(), paused_);
    }

    /// @dev Reverts while the contract is stopped.
    function _requireNotPaused(Book book) internal view {
        // slither-disable-next-line timestamp
        if (block.timestamp < book.pausedUntil()) revert Paused(book.pausedUntil());
    }

    function _recordDeposit(address account, uint256 amount) private {
        if (account == address(0)) revert ZeroAddress();
        // slither-disable-next-line incorrect-equality
        if (amount == 0) revert ZeroAmount();
        uint256 sum = deposited;
        if (amount > type(uint96).max - sum) revert DepositsFull(sum, amount);
        unchecked {
            deposited = sum + amount;
        }
        Book book = _book;
        _book = book.withDeposit(amount);
        emit Deposit(book.nextEventNonce(), account, amount);
    }

    function _withdraw(uint256 amount) private {
        uint256 held = rewards[msg.sender];
        if (amount == 0 || amount > held) revert InsufficientRewards(msg.sender, amount, held);
        unchecked {
            rewards[msg.sender] = held - amount;
        }
        emit Withdrawn(msg.sender, amount);
        if (token == address(0)) {
            Address.sendValue(payable(msg.sender), amount);
        } else {
            IERC20(token).safeTransfer(msg.sender, amount);
        }
    }
}
