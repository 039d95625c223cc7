// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {ERC3009} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";
import {IPrepaidReserve} from "../../src/interfaces/IPrepaidReserve.sol";
import {TestUSDC} from "../mocks/TestUSDC.sol";
import {World} from "./World.sol";

/// Money put into the reserve and taken back, by whoever tries; and what happens at the tokens meanwhile.
abstract contract ReserveActions is World {
    bytes32 private constant PERMIT_TYPEHASH =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
    bytes32 private constant RECEIVE_TYPEHASH = keccak256(
        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );

    struct Authorization {
        TestUSDC token;
        address from;
        address to;
        uint256 value;
        bytes32 salt;
        bytes32 nonce;
    }

    uint256 private constant FOREVER = type(uint64).max;

    mapping(address token => uint256) public deposited;
    mapping(address token => uint256) public withdrawn;

    // --------------------------------------------------------------------------------------------------- deposits

    /// From an account or a stranger, for any account. Not from a payee, whose tokens tell what it was paid.
    function deposit(uint8 which, uint8 who, uint8 whose, uint16 amount, bool approves) external step {
        TestUSDC token = _token(which);
        address from = who % 4 == 0 ? stranger : _account(who).addr;
        address to = whose % 16 == 0 ? address(0) : _account(whose).addr;
        uint256 value = amount % 64 == 0 ? 0 : amount % 1000;
        if (approves) {
            vm.prank(from);
            token.approve(address(reserve), value);
        }
        bytes memory problem = _refusal(token, from, value);
        if (problem.length == 0) problem = _uncreditable(to, value);
        if (problem.length == 0) _credit(to, token, value);
        bytes memory data = abi.encodeCall(reserve.deposit, (to, address(token), value));
        _call("deposit", from, address(reserve), data, problem);
    }

    /// Signed by an account and sent by anybody, for itself or another; now and then for another than was signed for,
    /// or a second time.
    function depositWithAuthorization(uint8 which, uint8 who, uint8 whose, uint16 amount, uint8 salt) external step {
        salt = salt % 4;
        Authorization memory a;
        a.token = _token(which);
        a.from = _account(who).addr;
        a.to = _account(whose).addr;
        a.value = 1 + amount % 1000;
        a.salt = bytes32(uint256(salt));
        a.nonce = keccak256(abi.encode(salt == 0 ? stranger : a.to, a.salt));
        bytes memory problem;
        if (salt == 0) {
            problem = abi.encodeWithSelector(ERC3009.ERC3009InvalidSignature.selector);
        } else if (a.token.authorizationState(a.from, a.nonce)) {
            problem = abi.encodeWithSelector(ERC3009.ERC3009UsedAuthorization.selector, a.from, a.nonce);
        } else {
            problem = _refusedTransfer(a.token, a.from, address(reserve), a.value);
        }
        if (problem.length == 0) _credit(a.to, a.token, a.value);
        bytes memory signature = _sign(
            _account(who),
            a.token,
            keccak256(abi.encode(RECEIVE_TYPEHASH, a.from, address(reserve), a.value, 0, FOREVER, a.nonce))
        );
        bytes memory data = abi.encodeCall(
            reserve.depositWithAuthorization, (a.to, address(a.token), a.from, a.value, 0, FOREVER, a.salt, signature)
        );
        _call("depositWithAuthorization", _anybody(whose), address(reserve), data, problem);
    }

    /// An account's own tokens into its own pool; now and then with somebody else's permit, or an old one.
    function depositWithPermit(uint8 which, uint8 who, uint16 amount, uint8 flaw) external step {
        TestUSDC token = _token(which);
        Key storage owner = _account(who);
        uint256 value = amount % 64 == 0 ? 0 : amount % 1000;
        uint256 deadline = flaw % 8 == 0 ? time - 1 : time;
        address to = flaw % 8 == 1 ? _account(uint256(who) + 1).addr : owner.addr;
        bytes32 structHash = keccak256(
            abi.encode(PERMIT_TYPEHASH, owner.addr, address(reserve), value, token.nonces(owner.addr), deadline)
        );
        bytes memory problem;
        if (flaw % 8 == 0) problem = abi.encodeWithSelector(TestUSDC.ExpiredPermit.selector, deadline);
        else if (flaw % 8 == 1) problem = abi.encodeWithSelector(TestUSDC.InvalidPermit.selector, to);
        else problem = _refusedTransfer(token, to, address(reserve), value);
        if (problem.length == 0) problem = _uncreditable(to, value);
        if (problem.length == 0) _credit(to, token, value);
        bytes memory data = abi.encodeCall(
            reserve.depositWithPermit, (to, address(token), value, deadline, _sign(owner, token, structHash))
        );
        _call("depositWithPermit", _anybody(flaw), address(reserve), data, problem);
    }

    // ------------------------------------------------------------------------------------------------- withdrawals

    function requestWithdrawal(uint8 which, uint8 who, uint16 amount) external step {
        address token = address(_token(which));
        address from = _owner(who);
        PoolModel storage pool = pools[from][token];
        uint96 value = amount % 64 == 0 ? 0 : uint96(1 + uint256(amount) * (pool.balance + pool.balance / 8) / 65_536);
        bytes memory problem;
        if (value == 0) {
            problem = abi.encodeWithSelector(IPrepaidReserve.InvalidAmount.selector, 0);
        } else if (value > pool.balance) {
            problem = abi.encodeWithSelector(IPrepaidReserve.InsufficientBalance.selector, pool.balance, value);
        } else {
            (pool.withdrawing, pool.withdrawableAt) = (value, time + 1 days);
        }
        bytes memory data = abi.encodeCall(reserve.requestWithdrawal, (token, value));
        _call("requestWithdrawal", from, address(reserve), data, problem);
    }

    function cancelWithdrawal(uint8 which, uint8 who) external step {
        address token = address(_token(which));
        address from = _owner(who);
        PoolModel storage pool = pools[from][token];
        bytes memory problem;
        if (pool.withdrawableAt == 0) problem = abi.encodeWithSelector(IPrepaidReserve.NoWithdrawal.selector);
        else (pool.withdrawing, pool.withdrawableAt) = (0, 0);
        bytes memory data = abi.encodeCall(reserve.cancelWithdrawal, (token));
        _call("cancelWithdrawal", from, address(reserve), data, problem);
    }

    /// To the account or a stranger, mostly when it is due: then the step waits for it first.
    function withdraw(uint8 which, uint8 who, uint8 to, bool waits) external step {
        TestUSDC token = _token(which);
        address from = _owner(who);
        address receiver = to % 2 == 0 ? from : stranger;
        PoolModel storage pool = pools[from][address(token)];
        if (waits && pool.withdrawableAt > time) {
            time = pool.withdrawableAt;
            vm.warp(time);
        }
        uint256 value = pool.withdrawing < pool.balance ? pool.withdrawing : pool.balance;
        bytes memory problem;
        if (pool.withdrawableAt == 0) {
            problem = abi.encodeWithSelector(IPrepaidReserve.NoWithdrawal.selector);
        } else if (time < pool.withdrawableAt) {
            problem = abi.encodeWithSelector(IPrepaidReserve.WithdrawalNotReady.selector, uint64(pool.withdrawableAt));
        } else {
            problem = _refusedTransfer(token, address(reserve), receiver, value);
        }
        if (problem.length == 0) {
            withdrawn[address(token)] += value;
            pools[from][address(token)] = PoolModel(pool.balance - value, 0, 0);
        }
        bytes memory data = abi.encodeCall(reserve.withdraw, (address(token), receiver));
        bytes memory answer = _call("withdraw", from, address(reserve), data, problem);
        if (problem.length == 0) {
            _expect(keccak256(answer) == keccak256(abi.encode(value)), "withdrawn", answer);
        }
    }

    /// Nobody but the module pays from a pool.
    function draw(uint8 which, uint8 whose, uint8 who, uint16 amount) external step {
        address from = _anybody(who);
        bytes memory data = abi.encodeCall(
            reserve.draw, (_account(whose).addr, address(_token(which)), _anybody(who / 2), uint256(amount))
        );
        bytes memory problem = abi.encodeWithSelector(IPrepaidReserve.OnlyModule.selector, from);
        _call("draw", from, address(reserve), data, problem);
    }

    // ------------------------------------------------------------------------------------- what happens at the tokens

    /// Blocks an account, a payee or the reserve, or nobody any longer.
    function block_(uint8 which, uint8 who, bool blocked) external step {
        address[7] memory all =
            [payees[0], payees[1], payees[2], accounts[0].addr, accounts[1].addr, accounts[2].addr, address(reserve)];
        TestUSDC token = _token(which);
        if (blocked) {
            token.setBlocked(all[who % all.length], true);
        } else {
            for (uint256 i = 0; i < all.length; i++) {
                token.setBlocked(all[i], false);
            }
        }
        count["block"]++;
    }

    function approve(uint8 which, uint8 who, uint16 amount) external step {
        uint256 value = amount % 2 == 0 ? type(uint256).max : amount % 200;
        vm.prank(_account(who).addr);
        _token(which).approve(address(module), value);
        count["approve"]++;
    }

    /// Most of what the account has goes, or new tokens come.
    function fund(uint8 which, uint8 who, uint16 amount) external step {
        TestUSDC token = _token(which);
        address holder = _account(who).addr;
        if (!token.isBlocked(holder)) {
            if (amount % 4 != 0) token.mint(holder, amount);
            else _drain(token, holder, amount % 100);
        }
        count["fund"]++;
    }

    function wait_(uint8 kind, uint32 seconds_) external step {
        if (kind % 8 == 0) time += seconds_ % 1 days;
        else if (kind % 8 < 4) time += seconds_ % 1 hours;
        else time += seconds_ % 2 minutes;
        count["wait"]++;
    }

    // -------------------------------------------------------------------------------------------------- internal

    function _drain(TestUSDC token, address holder, uint256 rest) private {
        uint256 balance = token.balanceOf(holder);
        if (balance <= rest) return;
        vm.prank(holder);
        require(token.transfer(stranger, balance - rest));
    }

    /// Seldom somebody who has no pool.
    function _owner(uint8 who) private view returns (address) {
        return who % 16 == 0 ? _anybody(who / 16) : _account(who).addr;
    }

    function _credit(address to, TestUSDC token, uint256 value) private {
        pools[to][address(token)].balance += value;
        deposited[address(token)] += value;
    }

    /// Why the reserve's own rules refuse a deposit whose tokens have come in.
    function _uncreditable(address to, uint256 value) private pure returns (bytes memory) {
        if (to == address(0)) return abi.encodeWithSelector(IPrepaidReserve.InvalidAccount.selector, to);
        if (value == 0) return abi.encodeWithSelector(IPrepaidReserve.InvalidAmount.selector, value);
        return "";
    }

    /// Why the token does not let the reserve take `value`; empty if it does.
    function _refusal(TestUSDC token, address from, uint256 value) private view returns (bytes memory) {
        uint256 allowance = token.allowance(from, address(reserve));
        if (allowance < value) {
            return abi.encodeWithSelector(
                IERC20Errors.ERC20InsufficientAllowance.selector, address(reserve), allowance, value
            );
        }
        return _refusedTransfer(token, from, address(reserve), value);
    }

    function _refusedTransfer(TestUSDC token, address from, address to, uint256 value)
        private
        view
        returns (bytes memory)
    {
        if (token.isBlocked(from)) return abi.encodeWithSelector(TestUSDC.Blocked.selector, from);
        if (token.isBlocked(to)) return abi.encodeWithSelector(TestUSDC.Blocked.selector, to);
        uint256 balance = token.balanceOf(from);
        if (balance >= value) return "";
        return abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, from, balance, value);
    }

    function _sign(Key storage key, TestUSDC token, bytes32 structHash) private view returns (bytes memory) {
        return sign(key, keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), structHash)));
    }
}
