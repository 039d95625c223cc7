// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {SymbolicTest} from "./SymbolicTest.sol";

/// Whose money leaves the reserve, in any state.
contract ReserveSymbolicTest is SymbolicTest {
    /// Whatever anybody but the account and the module calls, its pool does not shrink, nor is more of it asked back.
    function check_anybodyElse_neverShrinksAPool(
        address account,
        address caller,
        uint8 action,
        address target,
        uint96 amount,
        uint64 time
    ) public {
        vm.assume(caller != account && caller != address(module));
        anyState(time);
        (uint96 balance, uint96 withdrawing, uint64 at) = reserve.poolOf(account, address(usdc));

        vm.prank(caller);
        (bool success,) = address(reserve).call(callOf(action, target, amount));
        vm.assume(success);

        (uint96 balanceNow, uint96 withdrawingNow, uint64 atNow) = reserve.poolOf(account, address(usdc));
        assert(balanceNow >= balance && atNow == at);
        assert(withdrawingNow == withdrawing || (withdrawingNow > withdrawing && balance == withdrawing));
    }

    /// It takes out at most what it asked for, not before the delay is over, and nobody else's.
    function check_withdraw_paysWhatWasAskedForAfterTheDelay(address account, address other, address to, uint64 time)
        public
    {
        vm.assume(other != account);
        anyState(time);
        (uint96 balance, uint96 withdrawing, uint64 at) = reserve.poolOf(account, address(usdc));
        (uint96 others,,) = reserve.poolOf(other, address(usdc));
        uint256 received = usdc.balanceOf(to);
        vm.assume(received <= type(uint128).max);

        vm.prank(account);
        try reserve.withdraw(address(usdc), to) returns (uint256 amount) {
            assert(at != 0 && time >= at);
            assert(amount == withdrawing && amount <= balance);
            (uint96 balanceNow, uint96 withdrawingNow, uint64 atNow) = reserve.poolOf(account, address(usdc));
            assert(balanceNow == balance - amount && withdrawingNow == 0 && atNow == 0);
            (uint96 othersNow,,) = reserve.poolOf(other, address(usdc));
            assert(othersNow == others);
            assert(usdc.balanceOf(to) == received + (to == address(reserve) ? 0 : amount));
        } catch {}
    }

    function check_requestWithdrawal_startsTheWholeDelay(address account, uint96 amount, uint64 time) public {
        vm.assume(time < type(uint64).max - 1 days);
        anyState(time);
        vm.prank(account);
        reserve.requestWithdrawal(address(usdc), amount);
        (uint96 balance, uint96 withdrawing, uint64 at) = reserve.poolOf(account, address(usdc));
        assert(at == time + 1 days && withdrawing == amount && amount <= balance);
    }

    function callOf(uint8 action, address target, uint96 amount) internal view returns (bytes memory) {
        if (action == 0) return abi.encodeCall(reserve.deposit, (target, address(usdc), amount));
        if (action == 1) return abi.encodeCall(reserve.requestWithdrawal, (address(usdc), amount));
        if (action == 2) return abi.encodeCall(reserve.cancelWithdrawal, (address(usdc)));
        if (action == 3) return abi.encodeCall(reserve.withdraw, (address(usdc), target));
        return abi.encodeCall(reserve.draw, (target, address(usdc), target, amount));
    }
}
