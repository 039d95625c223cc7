// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {IPrepaidReserve} from "./interfaces/IPrepaidReserve.sol";

/// EIP-3009 and EIP-2612 with signatures as bytes, as USDC v2.2 has them: those take ERC-1271 signatures too.
interface ISignedTransfers {
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external;

    function permit(address owner, address spender, uint256 value, uint256 deadline, bytes calldata signature) external;
}

/// @title PrepaidReserve
/// @notice See IPrepaidReserve.
/// @dev Trust: nobody but the account takes its money out, and nobody but the module pays from it. There is no owner, no
/// upgrade and no pause. SessionKeyValidator deploys it, one for each.
///
/// Invariants, for every token:
/// - the pools add up to what was deposited, less what was drawn and withdrawn, and the reserve holds at least that;
/// - an account takes out at most what it asked for, WITHDRAWAL_DELAY after it asked.
///
/// Pools change before tokens move out, and a deposit counts only if exactly its amount came in. So a token that calls
/// back in gains nothing: whatever moved in between makes the amounts differ.
contract PrepaidReserve is IPrepaidReserve {
    using SafeERC20 for IERC20;

    /// One slot. Draws lower `balance` alone: of `withdrawing` counts what `balance` still covers.
    struct Pool {
        uint96 balance;
        uint96 withdrawing;
        uint64 withdrawableAt;
    }

    // --------------------------------------------------------------------------------------------------- constants

    /// @inheritdoc IPrepaidReserve
    uint64 public constant WITHDRAWAL_DELAY = 1 days;

    // -------------------------------------------------------------------------------------------------- immutables

    /// @inheritdoc IPrepaidReserve
    address public immutable module = msg.sender;

    // ----------------------------------------------------------------------------------------------------- storage

    mapping(address account => mapping(address token => Pool)) private _pools;

    // ---------------------------------------------------------------------------------- external: deposits, by anybody

    /// @inheritdoc IPrepaidReserve
    function deposit(address account, address token, uint256 amount) external {
        uint256 before = _balanceOf(token);
        IERC20(token).safeTransferFrom(msg.sender, address(this), amount);
        _credit(account, token, msg.sender, amount, before);
    }

    /// @inheritdoc IPrepaidReserve
    function depositWithAuthorization(
        address account,
        address token,
        address from,
        uint256 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 salt,
        bytes calldata signature
    ) external {
        uint256 before = _balanceOf(token);
        // Whatever the token calls in between: _credit reverts unless the reserve holds exactly the amount more.
        // slither-disable-next-line reentrancy-benign,reentrancy-events
        ISignedTransfers(token)
            .receiveWithAuthorization(
                from, address(this), amount, validAfter, validBefore, authorizationNonce(account, salt), signature
            );
        _credit(account, token, from, amount, before);
    }

    /// @inheritdoc IPrepaidReserve
    function depositWithPermit(
        address account,
        address token,
        uint256 amount,
        uint256 deadline,
        bytes calldata signature
    ) external {
        uint256 before = _balanceOf(token);
        // As above.
        // slither-disable-next-line reentrancy-benign,reentrancy-events
        ISignedTransfers(token).permit(account, address(this), amount, deadline, signature);
        // The account signed for this, and it is the account that is credited. With a token that takes any permit, anybody
        // can move what the account approved the reserve for into the account's own pool, and no further.
        // slither-disable-next-line arbitrary-send-erc20
        IERC20(token).safeTransferFrom(account, address(this), amount);
        _credit(account, token, account, amount, before);
    }

    // ------------------------------------------------------------------------------------- external: by the account

    /// @inheritdoc IPrepaidReserve
    function requestWithdrawal(address token, uint96 amount) external {
        Pool storage pool = _pools[msg.sender][token];
        if (amount == 0) revert InvalidAmount(amount);
        if (amount > pool.balance) revert InsufficientBalance(pool.balance, amount);
        uint64 withdrawableAt = uint64(block.timestamp) + WITHDRAWAL_DELAY;
        (pool.withdrawing, pool.withdrawableAt) = (amount, withdrawableAt);
        emit WithdrawalRequested(msg.sender, token, amount, withdrawableAt);
    }

    /// @inheritdoc IPrepaidReserve
    function cancelWithdrawal(address token) external {
        Pool storage pool = _pools[msg.sender][token];
        if (pool.withdrawableAt == 0) revert NoWithdrawal();
        (pool.withdrawing, pool.withdrawableAt) = (0, 0);
        emit WithdrawalCancelled(msg.sender, token);
    }

    /// @inheritdoc IPrepaidReserve
    function withdraw(address token, address to) external returns (uint256 amount) {
        Pool memory pool = _pools[msg.sender][token];
        // Zero is no request.
        // slither-disable-next-line incorrect-equality,timestamp
        if (pool.withdrawableAt == 0) revert NoWithdrawal();
        // The seconds by which a proposer may shift the clock are nothing in a day.
        // forge-lint: disable-next-item(block-timestamp)
        if (block.timestamp < pool.withdrawableAt) revert WithdrawalNotReady(pool.withdrawableAt);
        amount = Math.min(pool.withdrawing, pool.balance);
        // `amount` is at most `balance`.
        // forge-lint: disable-next-item(unsafe-typecast)
        _pools[msg.sender][token] = Pool({balance: pool.balance - uint96(amount), withdrawing: 0, withdrawableAt: 0});
        emit Withdrawn(msg.sender, token, to, amount);
        IERC20(token).safeTransfer(to, amount);
    }

    // -------------------------------------------------------------------------------------- external: by the module

    /// @inheritdoc IPrepaidReserve
    function draw(address account, address token, address payee, uint256 amount) external returns (bool) {
        if (msg.sender != module) revert OnlyModule(msg.sender);
        Pool storage pool = _pools[account][token];
        uint96 balance = pool.balance;
        if (amount > balance) return false;
        // So it is at most 96 bits, here and below.
        // forge-lint: disable-next-item(unsafe-typecast)
        pool.balance = balance - uint96(amount);
        if (IERC20(token).trySafeTransfer(payee, amount)) return true;
        // Added back to what is there now: the token may have called back in.
        // forge-lint: disable-next-item(unsafe-typecast)
        pool.balance += uint96(amount);
        return false;
    }

    // ------------------------------------------------------------------------------------------------------- views

    /// @inheritdoc IPrepaidReserve
    function poolOf(address account, address token)
        external
        view
        returns (uint96 balance, uint96 withdrawing, uint64 withdrawableAt)
    {
        Pool memory pool = _pools[account][token];
        return (pool.balance, uint96(Math.min(pool.withdrawing, pool.balance)), pool.withdrawableAt);
    }

    /// @inheritdoc IPrepaidReserve
    function authorizationNonce(address account, bytes32 salt) public pure returns (bytes32) {
        return keccak256(abi.encode(account, salt));
    }

    // ---------------------------------------------------------------------------------------------------- internal

    function _credit(address account, address token, address from, uint256 amount, uint256 balanceBefore) private {
        if (account == address(0)) revert InvalidAccount(account);
        if (amount == 0 || amount > type(uint96).max) revert InvalidAmount(amount);
        uint256 received = _balanceOf(token) - balanceBefore;
        if (received != amount) revert InexactTransfer(received, amount);
        // At most 96 bits, as checked above.
        // forge-lint: disable-next-item(unsafe-typecast)
        _pools[account][token].balance += uint96(amount);
        emit Deposited(account, token, from, amount);
    }

    function _balanceOf(address token) private view returns (uint256) {
        return IERC20(token).balanceOf(address(this));
    }
}
