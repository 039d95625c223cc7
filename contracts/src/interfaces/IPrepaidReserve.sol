// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @title Money that accounts put aside for what their grants pay
/// @notice One pool per account and token, for all payees. Only the module draws from it, for grants whose source is the
/// reserve. The account takes its money back after a delay that everybody sees begin, so that a voucher given before
/// can be settled before the money is gone.
/// Amounts are base units of the token, times are unix seconds.
interface IPrepaidReserve {
    // ------------------------------------------------------------------------------------------------------- events

    event Deposited(address indexed account, address indexed token, address indexed from, uint256 amount);
    /// Replaces an earlier request. From now on this part of the pool covers no new vouchers.
    event WithdrawalRequested(address indexed account, address indexed token, uint256 amount, uint64 withdrawableAt);
    event WithdrawalCancelled(address indexed account, address indexed token);
    event Withdrawn(address indexed account, address indexed token, address indexed to, uint256 amount);

    // ------------------------------------------------------------------------------------------------------- errors

    error OnlyModule(address caller);
    error InvalidAccount(address account);
    /// Zero, or above what a pool can hold (uint96).
    error InvalidAmount(uint256 amount);
    /// The token moved another amount than it was asked for: it takes a fee, or calls back in.
    error InexactTransfer(uint256 received, uint256 amount);
    error InsufficientBalance(uint256 balance, uint256 amount);
    error NoWithdrawal();
    error WithdrawalNotReady(uint64 withdrawableAt);

    // ------------------------------------------------------------------------------------------ deposits, by anybody

    /// Puts tokens of the caller into the account's pool. The caller has approved them to the reserve.
    function deposit(address account, address token, uint256 amount) external;

    /// The same with an EIP-3009 `ReceiveWithAuthorization` of `from`, to the reserve, which anybody may send. Its nonce
    /// is `authorizationNonce(account, salt)`, so that it fills this account's pool and no other.
    /// @param signature of an EOA (65 bytes) or an ERC-1271 contract.
    function depositWithAuthorization(
        address account,
        address token,
        address from,
        uint256 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 salt,
        bytes calldata signature
    ) external;

    /// The same with an EIP-2612 permit of the account for the reserve, which anybody may send: the account's own tokens
    /// go into its own pool. Once somebody has used the permit at the token, the account calls `deposit` instead.
    function depositWithPermit(
        address account,
        address token,
        uint256 amount,
        uint256 deadline,
        bytes calldata signature
    ) external;

    // ------------------------------------------------------------------------------------------------ by the account

    /// Asks for `amount` back, WITHDRAWAL_DELAY from now. Replaces an earlier request, whose delay is lost.
    function requestWithdrawal(address token, uint96 amount) external;

    function cancelWithdrawal(address token) external;

    /// Pays what was asked for, or what draws have left of it.
    /// @return amount paid, which may be 0.
    function withdraw(address token, address to) external returns (uint256 amount);

    // ------------------------------------------------------------------------------------------------- by the module

    /// Pays a payee from the account's pool. False, and nothing changed, if the pool is too low or the token refuses.
    function draw(address account, address token, address payee, uint256 amount) external returns (bool);

    // -------------------------------------------------------------------------------------------------------- views

    /// Seconds from a request until its money can be taken out.
    // The getter of a constant.
    // slither-disable-next-line naming-convention
    function WITHDRAWAL_DELAY() external view returns (uint64);

    /// Who draws: the SessionKeyValidator that this is the reserve of.
    function module() external view returns (address);

    /// `withdrawing` is the part of `balance` that was asked back, and new vouchers can count on the rest.
    /// `withdrawableAt` is 0 if nothing was asked back.
    function poolOf(address account, address token)
        external
        view
        returns (uint96 balance, uint96 withdrawing, uint64 withdrawableAt);

    /// The EIP-3009 nonce of a deposit for this account. `salt` tells deposits of the same sender apart.
    function authorizationNonce(address account, bytes32 salt) external pure returns (bytes32);
}
