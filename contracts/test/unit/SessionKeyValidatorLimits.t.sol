// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Status, Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {StreamTest} from "../utils/StreamTest.sol";

/// Whatever is presented in whatever order, exactly what a simple model says is paid, and never above a limit.
contract SessionKeyValidatorLimitsTest is StreamTest {
    uint96 internal constant TOTAL = 1000;
    uint96 internal constant PER_PERIOD = 300;
    uint32 internal constant PERIOD = 60;

    /// One step of a history: wait, then claim `amount` of a voucher for `voucher` for one of the payees.
    struct Step {
        uint8 wait;
        bool other;
        bool blocked;
        uint16 amount;
        uint16 voucher;
    }

    mapping(address payee => uint256) internal paid;
    mapping(address payee => uint256) internal highestVoucher;
    mapping(uint256 periodIndex => uint256) internal paidInPeriod;
    uint256 internal total;

    function testFuzz_settle_paysExactlyTheModelInAnyOrder(Step[] memory steps) public {
        Terms memory limited = multiTerms();
        (limited.totalLimit, limited.periodLimit, limited.period) = (TOTAL, PER_PERIOD, PERIOD);
        (bytes32 id, bytes memory packed) = grant(limited);
        uint256 time = START;
        for (uint256 i = 0; i < steps.length && i < 40; i++) {
            time += steps[i].wait;
            vm.warp(time);
            check(id, packed, steps[i], (time - START) / PERIOD);
        }
    }

    function testFuzz_settle_paysASinglePayeeExactlyTheModelInAnyOrder(uint16[] memory amounts) public {
        Terms memory limited = singleTerms();
        limited.totalLimit = TOTAL;
        (bytes32 id, bytes memory packed) = grant(limited);
        for (uint256 i = 0; i < amounts.length && i < 40; i++) {
            uint96 amount = amounts[i] % 1500;
            uint256 due = amount > total && amount <= TOTAL ? amount - total : 0;
            assertEq(module.settle(account, packed, pack(claimOf(id, amount))), due);
            total += due;
        }
        assertEq(usdc.balanceOf(payee), total);
        assertEq(module.channelSettled(account, packed, payee), total);
        assertLe(total, TOTAL);
    }

    function check(bytes32 id, bytes memory packed, Step memory step, uint256 period) internal {
        address to = step.other ? otherPayee : payee;
        uint96 amount = step.amount % 700;
        uint96 voucher = step.voucher % 700;
        if (voucher > highestVoucher[to]) highestVoucher[to] = voucher;

        uint256 due = amount > paid[to] && amount <= voucher ? amount - paid[to] : 0;
        if (total + due > TOTAL || paidInPeriod[period] + due > PER_PERIOD || step.blocked) due = 0;

        usdc.setBlocked(to, step.blocked);
        uint256 moved = module.settle(account, packed, pack(claimOf(id, to, amount, voucher, proofOf(to))));
        assertEq(moved, due, "paid");
        paid[to] += due;
        paidInPeriod[period] += due;
        total += due;

        assertEq(usdc.balanceOf(to), paid[to], "balance");
        assertEq(module.channelSettled(account, packed, to), paid[to], "channel");
        (Status status, uint96 settled,,) = module.grantState(account, id);
        assertEq(uint8(status), uint8(Status.Active), "status");
        assertEq(settled, total, "total");
        assertLe(paid[to], highestVoucher[to], "above the vouchers");
        assertLe(total, TOTAL, "above the total limit");
        assertLe(paidInPeriod[period], PER_PERIOD, "above the period limit");
    }
}
