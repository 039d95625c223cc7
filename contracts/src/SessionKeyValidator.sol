// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {ERC4337Utils} from "@openzeppelin/contracts/account/utils/ERC4337Utils.sol";
import {PackedUserOperation} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {MODULE_TYPE_VALIDATOR} from "@openzeppelin/contracts/interfaces/draft-IERC7579.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {PrepaidReserve} from "./PrepaidReserve.sol";
import {IPrepaidReserve} from "./interfaces/IPrepaidReserve.sol";
import {ISessionKeyValidator, Settlement, Status, Stop, Terms} from "./interfaces/ISessionKeyValidator.sol";
import {Claims} from "./libraries/Claims.sol";
import {GrantTerms} from "./libraries/GrantTerms.sol";
import {SettleCall} from "./libraries/SettleCall.sol";

/// @title SessionKeyValidator
/// @notice See ISessionKeyValidator.
/// @dev Trust: nobody but an account gives away its money. There is no owner, no upgrade and no pause of all. The module
/// is a validator, never an executor: it moves tokens with `transferFrom` and draws from its reserve, so a mistake in it
/// costs at most the allowance the account gave and what it put into the reserve. The guardian lowers what a session key may do and cannot raise it.
///
/// Invariants:
/// - a payee gets at most the highest amount a valid voucher of the session key names for it, whoever settles,
///   in whatever order and however often;
/// - a grant pays at most `totalLimit`, at most `periodLimit` per period, and nothing unless Active, in its window, in
///   the account's current epoch and with the account not frozen;
/// - everything that counts is checked in execution. Validation only decides who may spend the sponsor's gas: two
///   operations can be validated before either executes, and one that fails must not use up a voucher.
///
/// Storage that validation reads belongs to the account under ERC-7562: the account is the last key of each mapping.
contract SessionKeyValidator is ISessionKeyValidator, EIP712 {
    using Claims for bytes;
    using GrantTerms for bytes;
    using SafeERC20 for IERC20;

    // ------------------------------------------------------------------------------------------------------- types

    /// One slot.
    struct AccountState {
        address guardian;
        /// Rises when everything is revoked or the module is uninstalled; it is part of every grant's id.
        uint64 epoch;
        bool installed;
        bool frozen;
    }

    /// One slot. Of a grant to a single payee `settled` is also what that payee has got.
    struct GrantState {
        Status status;
        uint96 settled;
        /// Of the last period that was settled in. 32 bits wrap after 2^32 periods, which can only delay a payment.
        uint32 periodIndex;
        uint96 periodSettled;
    }

    // --------------------------------------------------------------------------------------------------- constants

    bytes32 private constant VOUCHER_TYPEHASH =
        keccak256("Voucher(bytes32 grantId,address payee,uint128 cumulativeAmount)");

    uint8 private constant SOURCE_RESERVE = 1;

    // -------------------------------------------------------------------------------------------------- immutables

    /// @inheritdoc ISessionKeyValidator
    IPrepaidReserve public immutable reserve = new PrepaidReserve();

    // ----------------------------------------------------------------------------------------------------- storage

    mapping(address account => AccountState) private _accounts;
    mapping(bytes32 grantId => mapping(address account => GrantState)) private _grants;
    /// Of grants to several payees.
    mapping(bytes32 grantId => mapping(address payee => mapping(address account => uint256))) private _channels;

    // --------------------------------------------------------------------------------------------------- modifiers

    modifier onlyInstalled(address account) {
        if (!_accounts[account].installed) revert NotInstalled(account);
        _;
    }

    modifier onlyAccountOrGuardian(address account) {
        if (!_mayStop(account)) revert Unauthorized(msg.sender, account);
        _;
    }

    // ------------------------------------------------------------------------------------------------- constructor

    constructor() EIP712("Protocol Banks Session", "1") {}

    // ------------------------------------------------------------------------------------------- external: ERC-7579

    /// @param data empty, or `abi.encode(address guardian)`.
    function onInstall(bytes calldata data) external {
        AccountState storage state = _accounts[msg.sender];
        if (state.installed) revert AlreadyInstalled(msg.sender);
        if (data.length != 0 && data.length != 32) revert MalformedInstallData(data.length);
        state.installed = true;
        emit Installed(msg.sender, state.epoch);
        if (data.length == 32) _setGuardian(msg.sender, abi.decode(data, (address)));
    }

    /// Costs the same however many grants there are, and never reverts: whatever the data, and installed or not. An
    /// account must always be able to get rid of the module.
    function onUninstall(bytes calldata) external {
        AccountState storage state = _accounts[msg.sender];
        if (!state.installed) return;
        uint64 epoch = state.epoch + 1;
        _accounts[msg.sender] = AccountState({guardian: address(0), epoch: epoch, installed: false, frozen: false});
        emit Uninstalled(msg.sender, epoch);
    }

    function isModuleType(uint256 moduleTypeId) external pure returns (bool) {
        return moduleTypeId == MODULE_TYPE_VALIDATOR;
    }

    /// Accepts one kind of operation: a settlement of a live grant, sponsored, signed by its settler or session key.
    /// Everything else, malformed input included, is SIG_VALIDATION_FAILED.
    function validateUserOp(PackedUserOperation calldata userOp, bytes32 userOpHash) external view returns (uint256) {
        address account = msg.sender;
        // Without a paymaster the account itself would pay for the gas, which no grant allows.
        if (userOp.sender != account || ERC4337Utils.paymaster(userOp) == address(0)) {
            return ERC4337Utils.SIG_VALIDATION_FAILED;
        }
        (bool canonical, bytes calldata terms, bytes calldata claims) =
            SettleCall.decode(userOp.callData, address(this), account);
        if (!canonical || !claims.areWellFormed()) return ERC4337Utils.SIG_VALIDATION_FAILED;

        AccountState storage state = _accounts[account];
        bytes32 grantId = _idOf(account, state.epoch, terms);
        if (state.frozen || _grants[grantId][account].status != Status.Active) {
            return ERC4337Utils.SIG_VALIDATION_FAILED;
        }
        // The third value only details the problem.
        // slither-disable-next-line unused-return
        (address signer, ECDSA.RecoverError problem,) = ECDSA.tryRecoverCalldata(userOpHash, userOp.signature);
        if (problem != ECDSA.RecoverError.NoError || (signer != terms.settler() && signer != terms.sessionKey())) {
            return ERC4337Utils.SIG_VALIDATION_FAILED;
        }
        return _validityOf(terms);
    }

    /// Refuses always: a session key never signs for the account (ERC-1271).
    function isValidSignatureWithSender(address, bytes32, bytes calldata) external pure returns (bytes4) {
        return 0xffffffff;
    }

    // --------------------------------------------------------------------------------- external: the account itself

    /// @inheritdoc ISessionKeyValidator
    function grant(Terms calldata terms) external onlyInstalled(msg.sender) returns (bytes32 grantId) {
        AccountState memory state = _accounts[msg.sender];
        _checkNewTerms(terms, state.guardian);
        bytes memory packed = GrantTerms.pack(terms);
        grantId = GrantTerms.idOf(keccak256(packed), address(this), msg.sender, state.epoch);
        GrantState storage slot = _grants[grantId][msg.sender];
        if (slot.status != Status.None) revert GrantExists(grantId);
        slot.status = Status.Active;
        emit GrantCreated(msg.sender, grantId, terms.sessionKey, state.epoch, packed);
    }

    /// @inheritdoc ISessionKeyValidator
    function setGuardian(address guardian) external onlyInstalled(msg.sender) {
        _setGuardian(msg.sender, guardian);
    }

    /// @inheritdoc ISessionKeyValidator
    function unfreeze(bytes32 grantId) external {
        GrantState storage slot = _grants[grantId][msg.sender];
        if (slot.status == Status.Active) return;
        if (slot.status != Status.Frozen) revert GrantNotLive(grantId, slot.status);
        slot.status = Status.Active;
        emit GrantUnfrozen(msg.sender, grantId, msg.sender);
    }

    /// @inheritdoc ISessionKeyValidator
    function unfreezeAll() external onlyInstalled(msg.sender) {
        AccountState storage state = _accounts[msg.sender];
        if (!state.frozen) return;
        state.frozen = false;
        emit AccountUnfrozen(msg.sender, msg.sender);
    }

    // ---------------------------------------------------------------------- external: the account or its guardian

    /// @inheritdoc ISessionKeyValidator
    function freeze(address account, bytes32 grantId) external onlyAccountOrGuardian(account) {
        GrantState storage slot = _grants[grantId][account];
        if (slot.status == Status.Frozen) return;
        if (slot.status != Status.Active) revert GrantNotLive(grantId, slot.status);
        slot.status = Status.Frozen;
        emit GrantFrozen(account, grantId, msg.sender);
    }

    /// @inheritdoc ISessionKeyValidator
    function freezeAll(address account) external onlyInstalled(account) onlyAccountOrGuardian(account) {
        AccountState storage state = _accounts[account];
        if (state.frozen) return;
        state.frozen = true;
        emit AccountFrozen(account, msg.sender);
    }

    /// @inheritdoc ISessionKeyValidator
    function revoke(address account, bytes32 grantId) external onlyAccountOrGuardian(account) {
        _revoke(account, grantId);
    }

    /// @inheritdoc ISessionKeyValidator
    function revokeAll(address account) external onlyInstalled(account) onlyAccountOrGuardian(account) {
        uint64 epoch = _accounts[account].epoch + 1;
        _accounts[account].epoch = epoch;
        emit AllRevoked(account, msg.sender, epoch);
    }

    /// @inheritdoc ISessionKeyValidator
    function stopMany(Stop[] calldata stops) external {
        for (uint256 i = 0; i < stops.length; i++) {
            Stop calldata one = stops[i];
            bytes4 reason = _tryStop(one.account, one.grantId, one.revokes ? Status.Revoked : Status.Frozen);
            if (reason != 0) emit StopSkipped(one.account, one.grantId, reason);
        }
    }

    // ------------------------------------------------------------------------------------ external: the session key

    /// @inheritdoc ISessionKeyValidator
    function giveUp(address account, bytes calldata terms) external {
        _checkSize(terms);
        if (msg.sender != terms.sessionKey()) revert Unauthorized(msg.sender, account);
        _revoke(account, _idOf(account, _accounts[account].epoch, terms));
    }

    // ---------------------------------------------------------------------------------------- external: everybody

    /// @inheritdoc ISessionKeyValidator
    function settle(address account, bytes calldata terms, bytes calldata claims) external returns (uint256 paid) {
        _checkSize(terms);
        uint64 epoch = _accounts[account].epoch;
        bytes32 grantId = _idOf(account, epoch, terms);
        _checkLive(account, grantId, terms);
        if (claims.length == 0) revert MalformedClaims(0);
        for (uint256 offset = 0; offset < claims.length;) {
            bytes calldata claim = claims.sliceAt(offset);
            offset += claim.length;
            paid += _settleClaim(account, epoch, grantId, terms, claim);
        }
    }

    /// @inheritdoc ISessionKeyValidator
    function settleMany(Settlement[] calldata settlements) external returns (uint256[] memory paid) {
        paid = new uint256[](settlements.length);
        for (uint256 i = 0; i < settlements.length; i++) {
            Settlement calldata one = settlements[i];
            // The caller pays for as many as they list. One that calls back in can settle, which pays nothing twice, and its
            // events come in the order in which things happened.
            // slither-disable-next-line calls-loop,reentrancy-events
            try this.settle(one.account, one.terms, one.claims) returns (uint256 amount) {
                paid[i] = amount;
            } catch (bytes memory reason) {
                emit SettlementSkipped(one.account, reason);
            }
        }
    }

    // ------------------------------------------------------------------------------------------------------- views

    /// @inheritdoc ISessionKeyValidator
    function isInitialized(address account) external view returns (bool) {
        return _accounts[account].installed;
    }

    /// @inheritdoc ISessionKeyValidator
    function accountState(address account)
        external
        view
        returns (address guardian, uint64 epoch, bool installed, bool frozen)
    {
        AccountState memory state = _accounts[account];
        return (state.guardian, state.epoch, state.installed, state.frozen);
    }

    /// @inheritdoc ISessionKeyValidator
    function grantState(address account, bytes32 grantId)
        external
        view
        returns (Status status, uint96 settled, uint32 periodIndex, uint96 periodSettled)
    {
        GrantState memory state = _grants[grantId][account];
        return (state.status, state.settled, state.periodIndex, state.periodSettled);
    }

    /// @inheritdoc ISessionKeyValidator
    function channelSettled(address account, bytes calldata terms, address payee) external view returns (uint256) {
        bytes32 grantId = grantIdOf(account, terms);
        bool single = terms.payeeRoot() == GrantTerms.leafOf(payee);
        return _channelSettled(account, grantId, payee, single);
    }

    /// @inheritdoc ISessionKeyValidator
    function grantIdOf(address account, bytes calldata terms) public view returns (bytes32) {
        _checkSize(terms);
        return _idOf(account, _accounts[account].epoch, terms);
    }

    /// @inheritdoc ISessionKeyValidator
    function packTerms(Terms calldata terms) external pure returns (bytes memory) {
        return GrantTerms.pack(terms);
    }

    /// @inheritdoc ISessionKeyValidator
    function hashVoucher(bytes32 grantId, address payee, uint128 cumulativeAmount) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(VOUCHER_TYPEHASH, grantId, payee, cumulativeAmount)));
    }

    // ---------------------------------------------------------------------------------------------------- internal

    /// Writes before it calls the token, and undoes from what is then stored: whatever the token does in between,
    /// settling again or freezing, is neither paid twice nor overwritten.
    function _settleClaim(address account, uint64 epoch, bytes32 grantId, bytes calldata terms, bytes calldata claim)
        private
        returns (uint256 due)
    {
        GrantState storage slot = _grants[grantId][account];
        address payee = claim.payee();
        bytes4 reason;
        (reason, due) = _applyClaim(slot, account, epoch, grantId, terms, claim);
        if (reason == 0) {
            // Undone is what this claim booked, from what is stored after the call. Events come in the order of payments.
            // slither-disable-next-line reentrancy-events
            if (_pay(account, terms, payee, due)) {
                emit Settled(account, grantId, payee, due, claim.amount());
                return due;
            }
            _undoClaim(slot, account, grantId, terms, claim, due);
            reason = TransferFailed.selector;
        }
        emit ClaimSkipped(account, grantId, payee, reason);
        return 0;
    }

    /// Checks the claim against what is stored now and records it. A reason other than zero means nothing was written.
    function _applyClaim(
        GrantState storage slot,
        address account,
        uint64 epoch,
        bytes32 grantId,
        bytes calldata terms,
        bytes calldata claim
    ) private returns (bytes4 reason, uint256 due) {
        AccountState storage accountSlot = _accounts[account];
        if (slot.status != Status.Active || accountSlot.frozen || accountSlot.epoch != epoch) {
            return (GrantStopped.selector, 0);
        }
        address payee = claim.payee();
        uint256 total = slot.settled;
        bool single = claim.isSingle();
        uint256 settled = single ? total : _channels[grantId][payee][account];
        bool allowed =
            claim.isKnownPayee() ? settled != 0 : claim.rootFrom(GrantTerms.leafOf(payee)) == terms.payeeRoot();
        if (!allowed) return (InvalidProof.selector, 0);

        uint256 amount = claim.amount();
        uint128 cumulativeAmount = claim.cumulativeAmount();
        if (amount > cumulativeAmount) return (AmountAboveVoucher.selector, 0);
        if (amount <= settled) return (NothingDue.selector, 0);
        unchecked {
            due = amount - settled;
            total += due;
        }
        if (total > terms.totalLimit()) return (TotalLimitExceeded.selector, 0);
        uint32 periodIndex = slot.periodIndex;
        uint256 periodSettled = slot.periodSettled;
        if (terms.period() != 0) {
            uint32 current = _periodIndex(terms);
            // Periods are hours or days: the seconds by which a proposer may shift the clock are theirs to have.
            // slither-disable-next-line timestamp
            if (periodIndex != current) (periodIndex, periodSettled) = (current, 0);
            periodSettled += due;
            if (periodSettled > terms.periodLimit()) return (PeriodLimitExceeded.selector, 0);
        }
        if (!_isSigned(terms.sessionKey(), hashVoucher(grantId, payee, cumulativeAmount), claim)) {
            return (InvalidSignature.selector, 0);
        }

        // Both are at most limits of 96 bits, or what was stored before.
        // forge-lint: disable-next-item(unsafe-typecast)
        slot.settled = uint96(total);
        slot.periodIndex = periodIndex;
        // As above.
        // forge-lint: disable-next-item(unsafe-typecast)
        slot.periodSettled = uint96(periodSettled);
        if (!single) _channels[grantId][payee][account] = amount;
    }

    function _undoClaim(
        GrantState storage slot,
        address account,
        bytes32 grantId,
        bytes calldata terms,
        bytes calldata claim,
        uint256 due
    ) private {
        // It is what _applyClaim added, as 96 bits.
        // forge-lint: disable-next-item(unsafe-typecast)
        slot.settled -= uint96(due);
        // As above.
        // forge-lint: disable-next-item(unsafe-typecast)
        if (terms.period() != 0) slot.periodSettled -= uint96(due);
        if (!claim.isSingle()) _channels[grantId][claim.payee()][account] -= due;
    }

    function _pay(address account, bytes calldata terms, address payee, uint256 amount) private returns (bool) {
        address token = terms.token();
        // Once for each claim, which the caller pays for.
        // slither-disable-next-line calls-loop
        if (terms.source() == SOURCE_RESERVE) return reserve.draw(account, token, payee, amount);
        return IERC20(token).trySafeTransferFrom(account, payee, amount);
    }

    function _isSigned(address sessionKey, bytes32 hash, bytes calldata claim) private pure returns (bool) {
        (bytes32 r, bytes32 yParityAndS) = claim.signature();
        // The third value only details the problem.
        // slither-disable-next-line unused-return
        (address signer, ECDSA.RecoverError problem,) = ECDSA.tryRecover(hash, r, yParityAndS);
        return problem == ECDSA.RecoverError.NoError && signer == sessionKey;
    }

    function _setGuardian(address account, address guardian) private {
        if (guardian == account) revert InvalidGuardian(guardian);
        _accounts[account].guardian = guardian;
        emit GuardianSet(account, guardian);
    }

    function _revoke(address account, bytes32 grantId) private {
        GrantState storage slot = _grants[grantId][account];
        if (slot.status == Status.Revoked) return;
        if (slot.status == Status.None) revert GrantNotLive(grantId, Status.None);
        slot.status = Status.Revoked;
        emit GrantRevoked(account, grantId, msg.sender);
    }

    /// A reason other than zero means that nothing was done. What is stopped already needs nothing.
    function _tryStop(address account, bytes32 grantId, Status target) private returns (bytes4 reason) {
        if (!_mayStop(account)) return Unauthorized.selector;
        GrantState storage slot = _grants[grantId][account];
        Status status = slot.status;
        if (status == target) return 0;
        if (status != Status.Active && status != Status.Frozen) return GrantNotLive.selector;
        slot.status = target;
        if (target == Status.Frozen) emit GrantFrozen(account, grantId, msg.sender);
        else emit GrantRevoked(account, grantId, msg.sender);
    }

    function _mayStop(address account) private view returns (bool) {
        return msg.sender == account || msg.sender == _accounts[account].guardian;
    }

    // A window is over when the chain's clock says so.
    // slither-disable-next-line timestamp
    function _checkNewTerms(Terms calldata terms, address guardian) private view {
        address key = terms.sessionKey;
        if (
            key == address(0) || key == msg.sender || key == address(this) || key == address(reserve)
                || key == terms.token || key == guardian
        ) revert InvalidSessionKey(key);
        if (terms.settler == address(0)) revert InvalidSettler(terms.settler);
        if (terms.token == address(0)) revert InvalidToken(terms.token);
        if (terms.totalLimit == 0) revert InvalidTotalLimit(terms.totalLimit);
        if ((terms.period == 0) != (terms.periodLimit == 0)) revert InvalidPeriod(terms.periodLimit, terms.period);
        // As said above.
        // forge-lint: disable-next-item(block-timestamp)
        if (
            terms.validAfter > terms.validUntil || terms.validUntil <= block.timestamp
                || terms.validUntil > ERC4337Utils.BLOCK_RANGE_MASK
        ) revert InvalidValidity(terms.validAfter, terms.validUntil);
        if (terms.payeeRoot == 0) revert InvalidPayeeRoot(terms.payeeRoot);
        if (terms.source > SOURCE_RESERVE) revert UnsupportedSource(terms.source);
    }

    function _checkLive(address account, bytes32 grantId, bytes calldata terms) private view {
        Status status = _grants[grantId][account].status;
        if (status != Status.Active) revert GrantNotLive(grantId, status);
        if (_accounts[account].frozen) revert AccountIsFrozen(account);
        // A window is over when the chain's clock says so.
        // forge-lint: disable-next-item(block-timestamp)
        // slither-disable-next-line timestamp
        if (block.timestamp < terms.validAfter() || block.timestamp > terms.validUntil()) {
            revert OutsideValidity(grantId, terms.validAfter(), terms.validUntil());
        }
    }

    /// The window as ERC-4337's validation data: validAfter (6 bytes), validUntil (6), no aggregator (20). There is no
    /// clock here (ERC-7562). "Valid only after" is exclusive in EntryPoint v0.8 and inclusive in v0.7, ours is inclusive:
    /// one second less is exact on v0.8, and execution checks the window again.
    function _validityOf(bytes calldata terms) private pure returns (uint256) {
        uint256 validAfter = terms.validAfter();
        return ((validAfter == 0 ? 0 : validAfter - 1) << 208) | (uint256(terms.validUntil()) << 160);
    }

    function _checkSize(bytes calldata terms) private pure {
        if (terms.length != GrantTerms.SIZE) revert MalformedTerms(terms.length);
    }

    function _channelSettled(address account, bytes32 grantId, address payee, bool single)
        private
        view
        returns (uint256)
    {
        return single ? _grants[grantId][account].settled : _channels[grantId][payee][account];
    }

    function _idOf(address account, uint64 epoch, bytes calldata terms) private view returns (bytes32) {
        return GrantTerms.idOf(terms.hashOf(), address(this), account, epoch);
    }

    function _periodIndex(bytes calldata terms) private view returns (uint32) {
        return uint32((block.timestamp - terms.validAfter()) / terms.period());
    }
}
