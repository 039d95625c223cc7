// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {AuthorityActions} from "./AuthorityActions.sol";
import {ReserveActions} from "./ReserveActions.sol";
import {SettleActions} from "./SettleActions.sol";
import {StopActions} from "./StopActions.sol";

/// Everything anybody can do, for the fuzzer to do in any order. It starts where use starts: three accounts that have
/// the module, tokens, allowances and pools, and a grant each, to one, two and three payees.
contract StreamHandler is AuthorityActions, ReserveActions, SettleActions, StopActions {
    constructor() {
        for (uint8 i = 0; i < accounts.length; i++) {
            address owner = accounts[i].addr;
            states[owner].installed = true;
            states[owner].guardian = guardian;
            install(owner);
            for (uint256 j = 0; j < tokens.length; j++) {
                tokens[j].mint(owner, 20_000);
                vm.startPrank(owner);
                tokens[j].approve(address(module), type(uint256).max);
                tokens[j].approve(address(reserve), 5000);
                reserve.deposit(owner, address(tokens[j]), 5000);
                vm.stopPrank();
                pools[owner][address(tokens[j])].balance = 5000;
                deposited[address(tokens[j])] += 5000;
            }
            Terms memory terms = _terms(uint256(keccak256(abi.encode(i))), i + 1, payees[0]);
            terms.validUntil = uint48(time + 30 days);
            terms.source = i % 2;
            _grantAs(owner, terms, i + 1, payees[0], "");
        }
    }

    /// What the fuzzer calls.
    function actions() external pure returns (bytes4[] memory list) {
        list = new bytes4[](27);
        list[0] = this.settleVoucher.selector;
        list[1] = this.settleKnownPayee.selector;
        list[2] = this.settleAgain.selector;
        list[3] = this.settleForged.selector;
        list[4] = this.settleClaims.selector;
        list[5] = this.settleSeveral.selector;
        list[6] = this.installModule.selector;
        list[7] = this.uninstallModule.selector;
        list[8] = this.appointGuardian.selector;
        list[9] = this.createGrant.selector;
        list[10] = this.repeatGrant.selector;
        list[11] = this.freeze.selector;
        list[12] = this.unfreeze.selector;
        list[13] = this.revoke.selector;
        list[14] = this.giveUp.selector;
        list[15] = this.deposit.selector;
        list[16] = this.depositWithAuthorization.selector;
        list[17] = this.depositWithPermit.selector;
        list[18] = this.requestWithdrawal.selector;
        list[19] = this.cancelWithdrawal.selector;
        list[20] = this.withdraw.selector;
        list[21] = this.draw.selector;
        list[22] = this.block_.selector;
        list[23] = this.approve.selector;
        list[24] = this.fund.selector;
        list[25] = this.wait_.selector;
        list[26] = this.stopSeveral.selector;
    }
}
