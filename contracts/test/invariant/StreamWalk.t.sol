// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {ERC3009} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";
import {Test} from "forge-std/Test.sol";
import {IPrepaidReserve} from "../../src/interfaces/IPrepaidReserve.sol";
import {ISessionKeyValidator} from "../../src/interfaces/ISessionKeyValidator.sol";
import {TestUSDC} from "../mocks/TestUSDC.sol";
import {Drafts} from "./Drafts.sol";
import {StreamHandler} from "./StreamHandler.sol";

/// The invariants would hold of a handler that does nothing. So the same actions with the same kind of arguments, always
/// the same ones, must have every outcome that there is, and each often enough.
contract StreamWalkTest is Test {
    uint256 internal constant WALKS = 20;
    uint256 internal constant STEPS = 128;
    uint256 internal constant OFTEN = 4;

    StreamHandler internal handler;
    uint256 internal seed;

    function test_theActionsReachEveryOutcome() public {
        bytes32[32] memory calls = succeeding();
        bytes4[39] memory errors = refusals();
        uint256[32] memory succeeded;
        uint256[39] memory refused;
        for (uint256 walk = 0; walk < WALKS; walk++) {
            this.walkOnce();
            assertEq(handler.mismatch(), "");
            for (uint256 i = 0; i < calls.length; i++) {
                succeeded[i] += handler.count(calls[i]);
            }
            for (uint256 i = 0; i < errors.length; i++) {
                refused[i] += handler.count(errors[i]);
            }
        }
        for (uint256 i = 0; i < calls.length; i++) {
            emit log_named_uint(string(bytes.concat(calls[i])), succeeded[i]);
        }
        for (uint256 i = 0; i < errors.length; i++) {
            emit log_named_uint(vm.toString(abi.encodePacked(errors[i])), refused[i]);
        }
        for (uint256 i = 0; i < calls.length; i++) {
            assertGe(succeeded[i], OFTEN, string(bytes.concat(calls[i])));
        }
        for (uint256 i = 0; i < errors.length; i++) {
            assertGe(refused[i], 1, vm.toString(abi.encodePacked(errors[i])));
        }
    }

    /// External, so that its memory is given back.
    function walkOnce() external {
        handler = new StreamHandler();
        for (uint256 i = 0; i < STEPS; i++) {
            act(u8() % 27);
        }
    }

    function act(uint256 action) internal {
        if (action == 0) handler.settleVoucher(u8(), claim());
        else if (action == 1) handler.settleKnownPayee(u8(), claim());
        else if (action == 2) handler.settleAgain(u8(), claim());
        else if (action == 3) handler.settleForged(u8(), claim());
        else if (action == 4) handler.settleClaims(u8(), [claim(), claim(), claim()], u8(), u8());
        else if (action == 5) settleSeveral();
        else if (action == 6) handler.installModule(u8(), u8(), u8());
        else if (action == 7) handler.uninstallModule(u8(), u8(), "");
        else if (action == 8) handler.appointGuardian(u8(), u8());
        else if (action == 9) handler.createGrant(u8(), draw(), u8());
        else if (action == 10) handler.repeatGrant(u8(), u8());
        else if (action == 11) handler.freeze(u8(), u8(), flag());
        else if (action == 12) handler.unfreeze(u8(), u8(), flag());
        else if (action == 13) handler.revoke(u8(), u8(), u8());
        else if (action == 14) handler.giveUp(u8(), u8(), u8());
        else if (action == 15) handler.deposit(u8(), u8(), u8(), u16(), flag());
        else if (action == 16) handler.depositWithAuthorization(u8(), u8(), u8(), u16(), u8());
        else if (action == 17) handler.depositWithPermit(u8(), u8(), u16(), u8());
        else if (action == 18) handler.requestWithdrawal(u8(), u8(), u16());
        else if (action == 19) handler.cancelWithdrawal(u8(), u8());
        else if (action == 20) handler.withdraw(u8(), u8(), u8(), flag());
        else if (action == 21) handler.draw(u8(), u8(), u8(), u16());
        else if (action == 22) handler.block_(u8(), u8(), flag());
        else if (action == 23) handler.approve(u8(), u8(), u16());
        else if (action == 24) handler.fund(u8(), u8(), u16());
        else if (action == 25) handler.wait_(u8(), uint32(draw()));
        else handler.stopSeveral([u8(), u8(), u8()], u8(), u8(), u8());
    }

    function settleSeveral() internal {
        handler.settleSeveral([u8(), u8(), u8()], [claim(), claim(), claim()], u8(), uint24(draw()));
    }

    function claim() internal returns (Drafts.ClaimSeed memory) {
        return Drafts.ClaimSeed(u8(), u8(), u16(), u16(), u8());
    }

    function draw() internal returns (uint256) {
        return seed = uint256(keccak256(abi.encode(seed)));
    }

    function u8() internal returns (uint8) {
        return uint8(draw());
    }

    function u16() internal returns (uint16) {
        return uint16(draw());
    }

    function flag() internal returns (bool) {
        return draw() % 2 == 0;
    }

    /// Names of the functions called, and of some things within them.
    function succeeding() internal pure returns (bytes32[32] memory) {
        return [
            bytes32("onInstall"),
            "onUninstall",
            "onUninstall of a user",
            "setGuardian",
            "grant",
            "freeze",
            "freezeAll",
            "unfreeze",
            "unfreezeAll",
            "revoke",
            "revokeAll",
            "giveUp",
            "stopMany",
            "frozen with others",
            "revoked with others",
            "stop skipped",
            "settle",
            "settleMany",
            "settled with others",
            "settlement skipped",
            "claim paid",
            "known payee paid",
            "deposit",
            "depositWithAuthorization",
            "depositWithPermit",
            "requestWithdrawal",
            "cancelWithdrawal",
            "withdraw",
            "block",
            "approve",
            "fund",
            "wait"
        ];
    }

    /// All errors and reasons there are, but those that need a token that calls back or takes a fee.
    function refusals() internal pure returns (bytes4[39] memory) {
        return [
            ISessionKeyValidator.Unauthorized.selector,
            ISessionKeyValidator.NotInstalled.selector,
            ISessionKeyValidator.AlreadyInstalled.selector,
            ISessionKeyValidator.MalformedInstallData.selector,
            ISessionKeyValidator.InvalidGuardian.selector,
            ISessionKeyValidator.InvalidSessionKey.selector,
            ISessionKeyValidator.InvalidSettler.selector,
            ISessionKeyValidator.InvalidToken.selector,
            ISessionKeyValidator.InvalidTotalLimit.selector,
            ISessionKeyValidator.InvalidPeriod.selector,
            ISessionKeyValidator.InvalidValidity.selector,
            ISessionKeyValidator.InvalidPayeeRoot.selector,
            ISessionKeyValidator.UnsupportedSource.selector,
            ISessionKeyValidator.GrantExists.selector,
            ISessionKeyValidator.MalformedTerms.selector,
            ISessionKeyValidator.MalformedClaims.selector,
            ISessionKeyValidator.GrantNotLive.selector,
            ISessionKeyValidator.AccountIsFrozen.selector,
            ISessionKeyValidator.OutsideValidity.selector,
            ISessionKeyValidator.InvalidSignature.selector,
            ISessionKeyValidator.InvalidProof.selector,
            ISessionKeyValidator.NothingDue.selector,
            ISessionKeyValidator.AmountAboveVoucher.selector,
            ISessionKeyValidator.TotalLimitExceeded.selector,
            ISessionKeyValidator.PeriodLimitExceeded.selector,
            ISessionKeyValidator.TransferFailed.selector,
            IPrepaidReserve.OnlyModule.selector,
            IPrepaidReserve.InvalidAccount.selector,
            IPrepaidReserve.InvalidAmount.selector,
            IPrepaidReserve.InsufficientBalance.selector,
            IPrepaidReserve.NoWithdrawal.selector,
            IPrepaidReserve.WithdrawalNotReady.selector,
            TestUSDC.Blocked.selector,
            TestUSDC.ExpiredPermit.selector,
            TestUSDC.InvalidPermit.selector,
            ERC3009.ERC3009InvalidSignature.selector,
            ERC3009.ERC3009UsedAuthorization.selector,
            IERC20Errors.ERC20InsufficientAllowance.selector,
            IERC20Errors.ERC20InsufficientBalance.selector
        ];
    }
}
