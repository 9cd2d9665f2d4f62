// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {Book} from "./Book.sol";
import {OwnerSet} from "./OwnerSet.sol";
import {PotVault} from "./PotVault.sol";

/// @title Settlement of potchain's payouts by its validators' operators
/// @author potchain
/// @notice Credits rewards that a threshold of owners has signed, and lets the payees withdraw them.
/// @dev Theory of operation.
///
/// Owners are the operators of the ledger's validators, `threshold` is the ledger's quorum. Every signed action (batch,
/// Merkle commit, rotation, pause) carries the next `nonce` of one sequence and the current `epoch`, so that it is
/// executed once, in order, and only by signatures of the owners in office. Anybody may relay it. EIP-712 domain: name
/// "PotSettlement", version "1", the chain's id and this address.
///
/// Two choices are for gas. The owners of an epoch stand in the code of an account of their own (OwnerSet.sol). And the
/// domain separator is built here, from OpenZeppelin's MessageHashUtils, because its EIP712 adds 90,000 gas to the
/// deployment for a view of the domain that wallets of operators do not need.
///
/// The set's end mark, address 2^160 - 1, would pass for an owner; a key for it is as far out of reach as one for an
/// owner.
///
/// A quorum of bad owners can misuse deposits that are promised to nobody yet. It cannot touch what has been credited.
contract PotSettlement is PotVault {
    /// @dev How long one owner alone can stop the contract, in seconds.
    uint256 private constant OWNER_PAUSE = 1 days;

    /// @dev How long after that the same owner must wait before it can do so again, in seconds.
    uint256 private constant OWNER_PAUSE_REST = 7 days;

    bytes32 private constant DOMAIN =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant DOMAIN_NAME = keccak256("PotSettlement");
    bytes32 private constant DOMAIN_VERSION = keccak256("1");
    bytes32 private constant REWARD_BATCH =
        keccak256("RewardBatch(uint256 nonce,uint256 epoch,bytes32 entriesHash,uint256 total)");
    bytes32 private constant MERKLE_COMMIT =
        keccak256("MerkleCommit(uint256 nonce,uint256 epoch,bytes32 root,uint256 total)");
    bytes32 private constant ROTATE_OWNERS =
        keccak256("RotateOwners(uint256 nonce,uint256 epoch,bytes32 ownersHash,uint256 threshold)");
    bytes32 private constant SET_PAUSED = keccak256("SetPaused(uint256 nonce,uint256 epoch,bool paused)");

    uint256 private constant SIGNATURE_BYTES = 65;

    /// @dev Epochs have 16 bits, and the nonce of the account that holds a set is one more.
    uint256 private constant MAX_EPOCH = type(uint16).max - 1;

    /// @dev A payment of the compatible path is one word: from the low end 208 bits, one for each owner who confirmed;
    /// their number, 8 bits; the epoch in which they did, 32 bits (in any other they are void); and these two flags.
    uint256 private constant PROPOSED = 1 << 254;
    uint256 private constant EXECUTED = 1 << 255;
    uint256 private constant ONE_CONFIRMATION = 1 << 208;
    uint256 private constant EPOCH_SHIFT = 216;
    uint256 private constant MAX_COMPATIBLE_OWNERS = 208;

    /// @notice Whether proposeTransaction, confirmTransaction and executeTransaction may be used.
    bool public immutable compatible;

    /// @dev The domain separator is computed once and again only on a fork with another chain id.
    bytes32 private immutable _separator;
    uint256 private immutable _chainId;

    /// @dev Unix time from which the owner may stop the contract alone again, in seconds.
    mapping(address owner => uint256 time) private _ownerPauseFrom;

    /// @dev Payments of the compatible path, see PROPOSED.
    mapping(uint256 txIndex => uint256 payment) private _payments;

    /// @notice Other owners are in office; signatures for the epoch before are void.
    /// @param eventNonce Position in the gapless sequence of deposits and signed actions.
    /// @param nonce The action's place in the sequence of signed actions.
    /// @param epoch The new epoch.
    /// @param ownersHash keccak256(abi.encode(owners)), in the order that was signed.
    /// @param threshold Signatures needed from now on.
    event OwnersRotated(
        uint256 indexed eventNonce, uint256 indexed nonce, uint256 epoch, bytes32 ownersHash, uint256 threshold
    );

    /// @notice One owner stopped the contract for a bounded time.
    /// @param owner Who.
    /// @param until Unix time at which the stop ends, in seconds.
    event OwnerPaused(address indexed owner, uint256 until);

    /// @notice A payment was proposed on the compatible path.
    /// @param txIndex The payment: destination << 96 | value.
    /// @param owner Who proposed it.
    /// @param destination The payee.
    /// @param value The reward, in base units.
    event TransactionProposed(uint256 indexed txIndex, address indexed owner, address destination, uint256 value);

    /// @notice An owner confirmed a payment on the compatible path.
    /// @param txIndex The payment.
    /// @param owner Who confirmed it.
    event TransactionConfirmed(uint256 indexed txIndex, address indexed owner);

    /// @notice A payment of the compatible path was credited.
    /// @param txIndex The payment.
    event TransactionExecuted(uint256 indexed txIndex);

    /// @notice Somebody who is no owner acted, or signed, as one.
    /// @param account Who.
    error NotOwner(address account);
    /// @notice The epoch can count no further.
    error TooManyRotations();
    /// @notice Signatures are missing, or the bytes are not whole signatures of 65 bytes.
    /// @param length Length of the signatures, in bytes.
    /// @param threshold Signatures needed.
    error TooFewSignatures(uint256 length, uint256 threshold);
    /// @notice The bytes are no signature of any account.
    /// @param position Its place, from 0.
    /// @param reason 1: r, s or v out of range; 3: s in the upper half of its range.
    error BadSignature(uint256 position, ECDSA.RecoverError reason);
    /// @notice Signatures are not in strictly increasing order of their signers, or one signer appears twice.
    /// @param previous The signer before.
    /// @param signer The signer that must be larger.
    error SignersNotAscending(address previous, address signer);
    /// @notice This owner has stopped the contract alone a short time ago.
    /// @param owner Who.
    /// @param from Unix time from which it may do so again, in seconds.
    error OwnerPauseUsed(address owner, uint256 from);
    /// @notice The contract was deployed without the compatible path.
    error CompatiblePathOff();
    /// @notice The amount of a payment does not fit 96 bits.
    /// @param value The amount, in base units.
    error ValueTooLarge(uint256 value);
    /// @notice The same payment was proposed before; it can be made once only.
    /// @param txIndex The payment.
    error TransactionKnown(uint256 txIndex);
    /// @notice Nobody has proposed this payment.
    /// @param txIndex The payment.
    error TransactionUnknown(uint256 txIndex);
    /// @notice This payment has been credited; it can be made once only.
    /// @param txIndex The payment.
    error TransactionAlreadyExecuted(uint256 txIndex);
    /// @notice The owner has confirmed this payment before.
    /// @param txIndex The payment.
    /// @param owner Who.
    error AlreadyConfirmed(uint256 txIndex, address owner);
    /// @notice The payment lacks confirmations of the owners in office.
    /// @param txIndex The payment.
    /// @param confirmations How many it has.
    /// @param threshold How many it needs.
    error NotConfirmed(uint256 txIndex, uint256 confirmations, uint256 threshold);

    /// @notice Puts the first owners in office.
    /// @param owners_ Owners, in strictly increasing order: 1 to 255 (208 with the compatible path), none this
    /// contract.
    /// @param threshold_ Signatures needed, 1 to the number of owners.
    /// @param token_ The ERC-20 token to keep, or zero for the native coin.
    /// @param compatible_ Whether the path propose, confirm, execute is open.
    constructor(address[] memory owners_, uint256 threshold_, address token_, bool compatible_) PotVault(token_) {
        compatible = compatible_;
        _chainId = block.chainid;
        _separator = _buildSeparator();
        OwnerSet.store(owners_, threshold_, _mostOwners());
    }

    /// @notice Credits a batch of rewards that the owners have signed. Anybody may send it. Not while paused.
    /// @param nonce The contract's next nonce.
    /// @param to Payees, at most MAX_ENTRIES; one may appear more than once.
    /// @param amount Their rewards, in base units.
    /// @param signatures At least `threshold` signatures r | s | v of 65 bytes, in increasing order of their signers.
    function executeBatch(uint256 nonce, address[] calldata to, uint256[] calldata amount, bytes calldata signatures)
        external
    {
        Book book = _expect(nonce);
        _requireNotPaused(book);
        uint256 total = _creditAll(to, amount);
        _authorise(book, _batchHash(book, nonce, to, amount, total), signatures);
        _book = _promise(book, total).withAction();
        emit BatchExecuted(book.nextEventNonce(), nonce, total, msg.sender);
    }

    /// @notice Puts a cumulative Merkle root in force that the owners have signed. Anybody may send it. Not while
    /// paused.
    /// @param nonce The contract's next nonce.
    /// @param root Root over the leaves (account, all that roots ever promised to it).
    /// @param total Sum of the increases over the previous root, in base units.
    /// @param signatures As for executeBatch.
    function commitRoot(uint256 nonce, bytes32 root, uint256 total, bytes calldata signatures) external {
        Book book = _expect(nonce);
        _requireNotPaused(book);
        _authorise(book, _structHash(MERKLE_COMMIT, book, nonce, root, total), signatures);
        _commit(book, root, total);
    }

    /// @notice Puts other owners in office, as the present ones have signed. Works while paused.
    /// @param nonce The contract's next nonce.
    /// @param owners_ The new owners; the same rules as for the constructor.
    /// @param threshold_ Signatures needed from now on.
    /// @param signatures As for executeBatch, by the present owners.
    function rotateOwners(uint256 nonce, address[] memory owners_, uint256 threshold_, bytes calldata signatures)
        external
    {
        Book book = _expect(nonce);
        bytes32 ownersHash = keccak256(abi.encode(owners_));
        _authorise(book, _structHash(ROTATE_OWNERS, book, nonce, ownersHash, threshold_), signatures);
        uint256 newEpoch = book.epoch() + 1;
        if (newEpoch > MAX_EPOCH) revert TooManyRotations();
        _book = book.withRotation().withAction();
        OwnerSet.store(owners_, threshold_, _mostOwners());
        emit OwnersRotated(book.nextEventNonce(), nonce, newEpoch, ownersHash, threshold_);
    }

    /// @notice Stops the contract until further notice or sets it going, as the owners have signed.
    /// @param nonce The contract's next nonce.
    /// @param paused_ True to stop.
    /// @param signatures As for executeBatch.
    function setPaused(uint256 nonce, bool paused_, bytes calldata signatures) external {
        Book book = _expect(nonce);
        _authorise(book, _pauseHash(book, nonce, paused_), signatures);
        _setPaused(book, paused_);
    }

    /// @notice Stops the contract for OWNER_PAUSE. One owner suffices; it can neither prolong the stop nor repeat it
    /// before OWNER_PAUSE_REST has passed after its end. The owners together can end it earlier by setPaused.
    function pauseByOwner() external {
        Book book = _book;
        _requireNotPaused(book);
        _ownerIndex(OwnerSet.load(book.epoch()));
        uint256 from = _ownerPauseFrom[msg.sender];
        // slither-disable-next-line timestamp
        if (block.timestamp < from) revert OwnerPauseUsed(msg.sender, from);
        uint256 until = block.timestamp + OWNER_PAUSE;
        _ownerPauseFrom[msg.sender] = until + OWNER_PAUSE_REST;
        _book = book.withPause(until);
        emit OwnerPaused(msg.sender, until);
    }

    /// @notice Proposes a payment on the compatible path. The same payment cannot be proposed twice, executed or not.
    /// @param destination The payee.
    /// @param value The reward, in base units, below 2^96.
    /// @return txIndex The payment, which is its own index: destination << 96 | value.
    function proposeTransaction(address destination, uint256 value) external returns (uint256 txIndex) {
        if (!compatible) revert CompatiblePathOff();
        _ownerIndex(OwnerSet.load(_book.epoch()));
        if (destination == address(0)) revert ZeroAddress();
        if (value == 0) revert ZeroAmount();
        if (value > type(uint96).max) revert ValueTooLarge(value);
        txIndex = (uint256(uint160(destination)) << 96) | value;
        if (_payments[txIndex] != 0) revert TransactionKnown(txIndex);
        _payments[txIndex] = PROPOSED;
        emit TransactionProposed(txIndex, msg.sender, destination, value);
    }

    /// @notice Confirms a payment. The confirmation that reaches the threshold credits it, unless the contract is
    /// paused or lacks deposits: then executeTransaction does, later.
    /// @param txIndex The payment.
    function confirmTransaction(uint256 txIndex) external {
        Book book = _book;
        bytes memory set = OwnerSet.load(book.epoch());
        uint256 mask = 1 << _ownerIndex(set);
        uint256 payment = _pending(book, txIndex);
        if (payment & mask != 0) revert AlreadyConfirmed(txIndex, msg.sender);
        // At most one confirmation for each owner: the number fits its 8 bits.
        payment = (payment | mask) + ONE_CONFIRMATION;
        emit TransactionConfirmed(txIndex, msg.sender);
        if (
            // slither-disable-next-line timestamp
            _confirmations(payment) < OwnerSet.thresholdOf(set) || block.timestamp < book.pausedUntil()
                || uint96(txIndex) > book.available()
        ) {
            _payments[txIndex] = payment;
        } else {
            _pay(book, txIndex, payment);
        }
    }

    /// @notice Credits a payment that has its confirmations but could not be credited with the last of them. Anybody
    /// may send it. Not while paused.
    /// @param txIndex The payment.
    function executeTransaction(uint256 txIndex) external {
        Book book = _book;
        _requireNotPaused(book);
        uint256 payment = _pending(book, txIndex);
        uint256 confirmations = _confirmations(payment);
        uint256 needed = threshold();
        if (confirmations < needed) revert NotConfirmed(txIndex, confirmations, needed);
        _pay(book, txIndex, payment);
    }

    /// @notice Confirmations of a payment of the compatible path. Reverts unless it has been proposed and not executed.
    /// @param txIndex The payment.
    /// @return Confirmations by the owners in office.
    function confirmationsOf(uint256 txIndex) external view returns (uint256) {
        return _confirmations(_pending(_book, txIndex));
    }

    /// @notice Number of rotations so far; signatures are for one epoch.
    /// @return The epoch; the first is 0.
    function epoch() external view returns (uint256) {
        return _book.epoch();
    }

    /// @notice Signatures needed.
    /// @return Their number.
    function threshold() public view returns (uint256) {
        return OwnerSet.thresholdOf(OwnerSet.load(_book.epoch()));
    }

    /// @notice Owners in office.
    /// @return In increasing order.
    function owners() external view returns (address[] memory) {
        bytes memory set = OwnerSet.load(_book.epoch());
        address[] memory all = new address[](OwnerSet.size(set));
        uint256 cursor = OwnerSet.start(set);
        unchecked {
            for (uint256 i = 0; i < all.length; ++i) {
                all[i] = address(uint160(OwnerSet.get(cursor + OwnerSet.OWNER_BYTES * i)));
            }
        }
        return all;
    }

    /// @notice Whether an account is an owner in office.
    /// @param account The account.
    /// @return True if it is.
    function isOwner(address account) external view returns (bool) {
        if (uint160(account) == type(uint160).max) return false; // the set's end mark
        uint256 cursor = OwnerSet.start(OwnerSet.load(_book.epoch()));
        return OwnerSet.get(OwnerSet.find(cursor, uint160(account))) == uint160(account);
    }

    /// @notice The EIP-712 domain separator of this contract on this chain.
    /// @return The separator.
    function domainSeparator() public view returns (bytes32) {
        return block.chainid == _chainId ? _separator : _buildSeparator();
    }

    /// @notice The digest that owners sign for a batch, in the current epoch.
    /// @param nonce The batch's nonce.
    /// @param to Payees.
    /// @param amount Their rewards, in base units.
    /// @return The EIP-712 digest.
    function batchDigest(uint256 nonce, address[] calldata to, uint256[] calldata amount)
        external
        view
        returns (bytes32)
    {
        return _digest(_batchHash(_book, nonce, to, amount, _totalOf(amount)));
    }

    /// @dev Most owners: as many as a payment's word has bits for them, or as a byte can count.
    function _mostOwners() private view returns (uint256) {
        return compatible ? MAX_COMPATIBLE_OWNERS : type(uint8).max;
    }

    /// @dev Credits a payment and keeps it as executed for ever.
    function _pay(Book book, uint256 txIndex, uint256 payment) private {
        uint256 value = uint96(txIndex);
        _book = _promise(book, value);
        _payments[txIndex] = payment | EXECUTED;
        emit TransactionExecuted(txIndex);
        _credit(address(uint160(txIndex >> 96)), value);
    }

    /// @dev Checks that at least `threshold` owners have signed: strictly increasing signers, each of them in the set.
    function _authorise(Book book, bytes32 structHash, bytes calldata signatures) private view {
        uint256 length = signatures.length;
        bytes memory set = OwnerSet.load(book.epoch());
        uint256 needed = OwnerSet.thresholdOf(set);
        if (length % SIGNATURE_BYTES != 0 || length / SIGNATURE_BYTES < needed) revert TooFewSignatures(length, needed);
        bytes32 digest = _digest(structHash);
        uint256 cursor = OwnerSet.start(set);
        uint256 previous = 0;
        unchecked {
            for (uint256 offset = 0; offset < length; offset += SIGNATURE_BYTES) {
                (address signer, ECDSA.RecoverError reason) = _recover(digest, signatures, offset);
                // Both lists ascend, so one walk through the owners serves all signers, and finds none of them twice.
                uint256 key = uint160(signer);
                cursor = OwnerSet.find(cursor, key);
                if (OwnerSet.get(cursor) != key) _refuse(offset / SIGNATURE_BYTES, reason, previous, key);
                previous = key;
                cursor += OwnerSet.OWNER_BYTES;
            }
        }
    }

    /// @dev Says why a signature does not count.
    function _refuse(uint256 position, ECDSA.RecoverError reason, uint256 previous, uint256 signer) private pure {
        if (reason != ECDSA.RecoverError.NoError) revert BadSignature(position, reason);
        if (signer <= previous) revert SignersNotAscending(address(uint160(previous)), address(uint160(signer)));
        revert NotOwner(address(uint160(signer)));
    }

    /// @dev The account whose signature stands at `offset`; the caller sees to it that 65 bytes stand there.
    function _recover(bytes32 digest, bytes calldata signatures, uint256 offset)
        private
        pure
        returns (address signer, ECDSA.RecoverError reason)
    {
        bytes32 r;
        bytes32 s;
        uint8 v;
        // As OpenZeppelin's ECDSA takes a signature apart, without the checks of a slice.
        // slither-disable-next-line assembly
        assembly ("memory-safe") {
            let signature := add(signatures.offset, offset)
            r := calldataload(signature)
            s := calldataload(add(signature, 32))
            v := byte(0, calldataload(add(signature, 64)))
        }
        // slither-disable-next-line unused-return
        (signer, reason,) = ECDSA.tryRecover(digest, v, r, s);
    }

    /// @dev Number of the sender among the owners; reverts if it is none.
    function _ownerIndex(bytes memory set) private view returns (uint256) {
        uint256 first = OwnerSet.start(set);
        uint256 place = OwnerSet.find(first, uint160(msg.sender));
        if (OwnerSet.get(place) != uint160(msg.sender)) revert NotOwner(msg.sender);
        unchecked {
            return (place - first) / OwnerSet.OWNER_BYTES;
        }
    }

    /// @dev A payment that is proposed and not executed, without confirmations of earlier epochs.
    function _pending(Book book, uint256 txIndex) private view returns (uint256 payment) {
        payment = _payments[txIndex];
        if (payment == 0) revert TransactionUnknown(txIndex);
        if (payment & EXECUTED != 0) revert TransactionAlreadyExecuted(txIndex);
        uint256 epoch_ = book.epoch();
        if (uint32(payment >> EPOCH_SHIFT) != epoch_) payment = PROPOSED | (epoch_ << EPOCH_SHIFT);
    }

    /// @dev Number of confirmations in a payment's word.
    function _confirmations(uint256 payment) private pure returns (uint256) {
        return uint8(payment / ONE_CONFIRMATION);
    }

    /// @dev EIP-712's hash of a RewardBatch.
    function _batchHash(
        Book book,
        uint256 nonce,
        address[] calldata to,
        uint256[] calldata amount,
        uint256 total
    ) private pure returns (bytes32) {
        return _structHash(REWARD_BATCH, book, nonce, keccak256(abi.encode(to, amount)), total);
    }

    /// @dev What the types of batch, commit and rotation have in common.
    function _structHash(bytes32 typeHash, Book book, uint256 nonce, bytes32 content, uint256 number)
        private
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(typeHash, nonce, book.epoch(), content, number));
    }

    /// @dev EIP-712's hash of a SetPaused.
    function _pauseHash(Book book, uint256 nonce, bool paused_) private pure returns (bytes32) {
        return keccak256(abi.encode(SET_PAUSED, nonce, book.epoch(), paused_));
    }

    /// @dev EIP-712's domain separator for the chain that runs this.
    function _buildSeparator() private view returns (bytes32) {
        return keccak256(abi.encode(DOMAIN, DOMAIN_NAME, DOMAIN_VERSION, block.chainid, address(this)));
    }

    /// @dev What the owners sign: EIP-712's digest of a struct's hash.
    function _digest(bytes32 structHash) private view returns (bytes32) {
        return MessageHashUtils.toTypedDataHash(domainSeparator(), structHash);
    }
}
