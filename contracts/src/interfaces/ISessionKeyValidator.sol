// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IERC7579Validator} from "@openzeppelin/contracts/interfaces/draft-IERC7579.sol";
import {IPrepaidReserve} from "./IPrepaidReserve.sol";

/// What the owner of an account allows one session key. Never changes: other terms are another grant.
/// Amounts are base units of `token`, times are unix seconds.
struct Terms {
    /// Signs vouchers. An EOA's key: vouchers are checked with ecrecover.
    address sessionKey;
    /// May sign the UserOperations that settle, besides the session key.
    address settler;
    address token;
    /// The most this grant ever pays, over all payees.
    uint96 totalLimit;
    /// The most it pays in one period; 0 is no such limit.
    uint96 periodLimit;
    /// Seconds, counted from `validAfter`; 0 if and only if `periodLimit` is 0.
    uint32 period;
    /// Inclusive.
    uint48 validAfter;
    /// Inclusive, below 2^47.
    uint48 validUntil;
    /// OpenZeppelin StandardMerkleTree over [address]. Of one payee: its leaf.
    bytes32 payeeRoot;
    /// Where the money comes from. 0: the account's allowance for the module. 1: its pool in the prepaid reserve.
    uint8 source;
    /// Tells equal terms apart.
    bytes24 salt;
}

/// What `settle` takes, of one account.
struct Settlement {
    address account;
    bytes terms;
    bytes claims;
}

/// What `stopMany` stops, of one account.
struct Stop {
    address account;
    bytes32 grantId;
    /// For good, instead of frozen.
    bool revokes;
}

/// Only an Active grant pays. Revoked is final.
enum Status {
    None,
    Active,
    Frozen,
    Revoked
}

/// @title Lets an agent's session key spend within a grant, by signed cumulative vouchers
/// @notice ERC-7579 validator module, one deployment for all accounts. Byte layouts: libraries/GrantTerms.sol,
/// libraries/Claims.sol, libraries/SettleCall.sol.
interface ISessionKeyValidator is IERC7579Validator {
    // ------------------------------------------------------------------------------------------------------ events

    event Installed(address indexed account, uint64 epoch);
    /// `epoch` is the one the account moved on to: every grant of the epochs before it is dead.
    event Uninstalled(address indexed account, uint64 epoch);
    event GuardianSet(address indexed account, address indexed guardian);

    /// `terms` are packed (libraries/GrantTerms.sol): nobody else keeps them, `settle` needs them again.
    event GrantCreated(
        address indexed account, bytes32 indexed grantId, address indexed sessionKey, uint64 epoch, bytes terms
    );
    event GrantFrozen(address indexed account, bytes32 indexed grantId, address by);
    event GrantUnfrozen(address indexed account, bytes32 indexed grantId, address by);
    event GrantRevoked(address indexed account, bytes32 indexed grantId, address by);
    event AccountFrozen(address indexed account, address by);
    event AccountUnfrozen(address indexed account, address by);
    event AllRevoked(address indexed account, address by, uint64 newEpoch);

    /// `paid` moved with this claim, `settled` is what the payee has got under this grant in total.
    event Settled(
        address indexed account, bytes32 indexed grantId, address indexed payee, uint256 paid, uint256 settled
    );
    /// `reason` is the selector of the error that explains it, one of those under "reasons to skip a claim".
    event ClaimSkipped(address indexed account, bytes32 indexed grantId, address indexed payee, bytes4 reason);
    /// In `stopMany`. `reason` is the selector of what `freeze` or `revoke` would have reverted with: `Unauthorized` or
    /// `GrantNotLive`.
    event StopSkipped(address indexed account, bytes32 indexed grantId, bytes4 reason);
    /// In `settleMany`. `reason` is what `settle` would have reverted with; empty if it ran out of gas.
    event SettlementSkipped(address indexed account, bytes reason);

    // ------------------------------------------------------------------------- errors: who calls, and installation

    /// The caller may not do this to the account. Freezing and revoking: the account or its guardian. Giving up: the
    /// session key of the terms.
    error Unauthorized(address caller, address account);
    error NotInstalled(address account);
    error AlreadyInstalled(address account);
    /// Install data is empty or `abi.encode(address guardian)`.
    error MalformedInstallData(uint256 length);
    /// The account cannot be its own guardian.
    error InvalidGuardian(address guardian);

    // ----------------------------------------------------------------------------------------- errors: new grants

    /// Zero, the account, the module, its reserve, the token or the guardian.
    error InvalidSessionKey(address sessionKey);
    error InvalidSettler(address settler);
    error InvalidToken(address token);
    error InvalidTotalLimit(uint96 totalLimit);
    /// A period and its limit come together or not at all.
    error InvalidPeriod(uint96 periodLimit, uint32 period);
    /// The window is empty, already over, or ends at 2^47 or later.
    error InvalidValidity(uint48 validAfter, uint48 validUntil);
    error InvalidPayeeRoot(bytes32 payeeRoot);
    error UnsupportedSource(uint8 source);
    /// These terms were granted before. Choose another salt.
    error GrantExists(bytes32 grantId);

    // ------------------------------------------------------------------------- errors: calls that change or settle

    /// Packed terms are 157 bytes.
    error MalformedTerms(uint256 length);
    /// The claim that starts at this byte is cut short, has too long a proof, or has none though it is not alone.
    error MalformedClaims(uint256 offset);
    /// The grant cannot do this in its status. Unknown terms, or terms of an epoch that ended, have status None.
    error GrantNotLive(bytes32 grantId, Status status);
    error AccountIsFrozen(address account);
    error OutsideValidity(bytes32 grantId, uint48 validAfter, uint48 validUntil);

    // -------------------------------------------------------------------------- reasons to skip a claim (selectors)

    /// The session key did not sign this voucher.
    error InvalidSignature();
    /// The grant does not allow this payee, or the proof does not show that it does.
    error InvalidProof();
    /// The payee already has as much, or more.
    error NothingDue();
    /// The claim asks for more than its voucher allows.
    error AmountAboveVoucher();
    error TotalLimitExceeded();
    error PeriodLimitExceeded();
    /// The token refused: balance, allowance, reserve, blocked payee, or it is no token.
    error TransferFailed();
    /// The grant was frozen, revoked or uninstalled by a call the token made during this settlement.
    error GrantStopped();

    // -------------------------------------------------------------------------------------- for the account itself

    /// Creates an active grant of the calling account.
    function grant(Terms calldata terms) external returns (bytes32 grantId);

    /// The guardian may freeze and revoke, never grant or unfreeze. Zero is none.
    function setGuardian(address guardian) external;

    function unfreeze(bytes32 grantId) external;

    function unfreezeAll() external;

    // ------------------------------------------- for the account or its guardian; repeating one changes nothing more

    function freeze(address account, bytes32 grantId) external;

    function freezeAll(address account) external;

    function revoke(address account, bytes32 grantId) external;

    /// Ends all grants of the account at once, by moving it to a new epoch.
    function revokeAll(address account) external;

    /// Freezes or revokes grants of any number of accounts, each by the rule of `freeze` or `revoke`. What the caller may not
    /// stop, or what cannot be stopped any more, is skipped with an event, and stops no other.
    function stopMany(Stop[] calldata stops) external;

    // --------------------------------------------------------------------------------------- for the session key

    /// Revokes the grant of these packed terms, called by its session key.
    function giveUp(address account, bytes calldata terms) external;

    // ---------------------------------------------------------------------------------------------- for everybody

    /// Pays what is due of each claim to the payees, from the account's allowance or reserve.
    /// @param terms packed, 157 bytes.
    /// @param claims packed, at least one.
    /// @return paid base units moved in this call; 0 if every claim was skipped.
    function settle(address account, bytes calldata terms, bytes calldata claims) external returns (uint256 paid);

    /// Settles for many accounts in one transaction. What cannot be settled is skipped with an event, and stops no other.
    /// @return paid base units moved, per settlement.
    function settleMany(Settlement[] calldata settlements) external returns (uint256[] memory paid);

    // ------------------------------------------------------------------------------------------------------- views

    /// What grants whose source is the reserve are paid from. It belongs to this module alone.
    function reserve() external view returns (IPrepaidReserve);

    /// ERC-7579: whether the account has the module installed.
    function isInitialized(address account) external view returns (bool);

    function accountState(address account)
        external
        view
        returns (address guardian, uint64 epoch, bool installed, bool frozen);

    /// `periodSettled` belongs to `periodIndex`, the last period that was settled in.
    function grantState(address account, bytes32 grantId)
        external
        view
        returns (Status status, uint96 settled, uint32 periodIndex, uint96 periodSettled);

    /// What the payee has got under these packed terms, in the account's current epoch. Takes the terms, not the id,
    /// because a grant to a single payee keeps the figure in the grant's own slot, which only its payee root tells.
    function channelSettled(address account, bytes calldata terms, address payee) external view returns (uint256);

    /// Id of packed terms in the account's current epoch, whether granted or not.
    function grantIdOf(address account, bytes calldata terms) external view returns (bytes32);

    function packTerms(Terms calldata terms) external pure returns (bytes memory);

    /// EIP-712 digest the session key signs.
    function hashVoucher(bytes32 grantId, address payee, uint128 cumulativeAmount) external view returns (bytes32);
}
