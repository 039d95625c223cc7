// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {Test} from "forge-std/Test.sol";
import {IPrepaidReserve} from "../../src/interfaces/IPrepaidReserve.sol";
import {ISessionKeyValidator, Status} from "../../src/interfaces/ISessionKeyValidator.sol";
import {TestUSDC} from "../mocks/TestUSDC.sol";
import {StreamHandler} from "./StreamHandler.sol";
import {World} from "./World.sol";

/// What holds after every call anybody makes, in whatever order: see World.sol for what is modelled and what is measured.
contract StreamInvariantsTest is Test {
    uint256 internal constant ACCOUNTS = 3;
    uint256 internal constant PAYEES = 3;
    uint256 internal constant TOKENS = 2;

    StreamHandler internal handler = new StreamHandler();
    ISessionKeyValidator internal module = handler.chainModule();
    IPrepaidReserve internal reserve = module.reserve();

    address[PAYEES] internal payees;
    TestUSDC[TOKENS] internal tokens;

    function setUp() public {
        for (uint256 i = 0; i < PAYEES; i++) {
            payees[i] = handler.payeeAt(i);
        }
        for (uint256 i = 0; i < TOKENS; i++) {
            tokens[i] = handler.tokenAt(i);
        }
        targetContract(address(handler));
        targetSelector(FuzzSelector(address(handler), handler.actions()));
    }

    /// One campaign for all: forge runs each invariant's campaign with the same random sequences.
    function invariant_nobodyIsPaidOrAllowedMoreThanAccountsGave() public view {
        World.Figures[] memory grants = handler.figures();
        transfersAddUpToWhatWasSettled(grants);
        noPayeeGetsMoreThanItsNewestVoucher(grants);
        noGrantPaysMoreThanItsLimits(grants);
        stoppedGrantsPayNothing();
        poolsAreDepositsLessDrawsAndWithdrawals(grants);
        onlyTheAccountRaisesWhatMayBeDone(grants);
        everyCallAnswersAsTheModelSays();
    }

    // ------------------------------------------------------------------------------------------------- the invariants

    /// Payees hold what was settled for them, to the unit: no transfer without a settlement, none twice.
    function transfersAddUpToWhatWasSettled(World.Figures[] memory grants) internal view {
        uint256[PAYEES][TOKENS] memory settled;
        for (uint256 i = 0; i < grants.length; i++) {
            uint256[PAYEES] memory ofToken = settled[grants[i].token == address(tokens[0]) ? 0 : 1];
            uint256 sum;
            for (uint256 p = 0; p < PAYEES; p++) {
                ofToken[p] += grants[i].paidTo[p];
                sum += grants[i].paidTo[p];
            }
            equal(sum, grants[i].paid, "what a grant's payees got and what it paid");
        }
        for (uint256 t = 0; t < TOKENS; t++) {
            for (uint256 p = 0; p < PAYEES; p++) {
                equal(tokens[t].balanceOf(payees[p]), settled[t][p], "a payee's tokens");
            }
        }
        equal(handler.fallen(), 0, "settled figures that went down");
    }

    function noPayeeGetsMoreThanItsNewestVoucher(World.Figures[] memory grants) internal pure {
        for (uint256 i = 0; i < grants.length; i++) {
            for (uint256 p = 0; p < PAYEES; p++) {
                atMost(grants[i].paidTo[p], grants[i].vouchers[p], "above the newest voucher");
            }
        }
    }

    function noGrantPaysMoreThanItsLimits(World.Figures[] memory grants) internal pure {
        for (uint256 i = 0; i < grants.length; i++) {
            atMost(grants[i].paid, grants[i].totalLimit, "above the total limit");
            atMost(grants[i].highestPeriod, grants[i].periodLimit, "above the limit of a period");
        }
    }

    /// Frozen, revoked, outside its validity, of an earlier epoch, or of an account that is frozen.
    function stoppedGrantsPayNothing() internal view {
        equal(handler.paidWhileStopped(), 0, "paid by a stopped grant");
    }

    function poolsAreDepositsLessDrawsAndWithdrawals(World.Figures[] memory grants) internal view {
        uint256[TOKENS] memory drawn;
        for (uint256 i = 0; i < grants.length; i++) {
            if (grants[i].source == 1) drawn[grants[i].token == address(tokens[0]) ? 0 : 1] += grants[i].paid;
        }
        for (uint256 t = 0; t < TOKENS; t++) {
            address token = address(tokens[t]);
            uint256 sum;
            for (uint256 i = 0; i < ACCOUNTS; i++) {
                sum += poolIsAsModelled(token, i);
            }
            equal(sum, tokens[t].balanceOf(address(reserve)), "the reserve's tokens");
            equal(sum + drawn[t] + handler.withdrawn(token), handler.deposited(token), "what was deposited");
        }
    }

    /// No new grant, no unfreezing, no other guardian, no change of a withdrawal but by the account itself; and the
    /// account's state and its grants' are what the model says.
    function onlyTheAccountRaisesWhatMayBeDone(World.Figures[] memory grants) internal view {
        equal(handler.raisedBy(), address(0), "raised by somebody else");
        for (uint256 i = 0; i < ACCOUNTS; i++) {
            (address account, World.AccountModel memory model) = handler.accountAt(i);
            (address guardian, uint64 epoch, bool installed, bool frozen) = module.accountState(account);
            equal(guardian, model.guardian, "guardian");
            equal(epoch, model.epoch, "epoch");
            equal(installed ? 1 : 0, model.installed ? 1 : 0, "installed");
            equal(frozen ? 1 : 0, model.frozen ? 1 : 0, "frozen");
        }
        for (uint256 i = 0; i < grants.length; i++) {
            (Status status,,,) = module.grantState(grants[i].account, grants[i].id);
            equal(uint8(status), uint8(grants[i].status), "status of a grant");
        }
    }

    /// It succeeds, is refused or skips exactly as the model says, with the same errors, events and amounts.
    function everyCallAnswersAsTheModelSays() internal view {
        string memory mismatch = handler.mismatch();
        if (bytes(mismatch).length != 0) assertEq(mismatch, "", "an answer the model does not give");
    }

    // -------------------------------------------------------------------------------------------------- internal

    function poolIsAsModelled(address token, uint256 index) internal view returns (uint256 balance) {
        (address account,) = handler.accountAt(index);
        uint256 withdrawing;
        uint256 withdrawableAt;
        (balance, withdrawing, withdrawableAt) = reserve.poolOf(account, token);
        World.PoolModel memory pool = handler.poolAt(account, token);
        equal(balance, pool.balance, "balance of a pool");
        equal(withdrawing, Math.min(pool.withdrawing, pool.balance), "asked back of a pool");
        equal(withdrawableAt, pool.withdrawableAt, "when a pool can be taken back");
    }

    // Compares here: a call of a cheat code for each comparison would take most of the campaign's time.

    function equal(uint256 found, uint256 expected, string memory what) internal pure {
        if (found != expected) assertEq(found, expected, what);
    }

    function equal(address found, address expected, string memory what) internal pure {
        if (found != expected) assertEq(found, expected, what);
    }

    function atMost(uint256 found, uint256 bound_, string memory what) internal pure {
        if (found > bound_) assertLe(found, bound_, what);
    }
}
