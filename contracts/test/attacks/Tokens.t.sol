// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ISessionKeyValidator, Status, Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {CallbackToken} from "../mocks/CallbackToken.sol";
import {OddToken, Oddity} from "../mocks/OddToken.sol";
import {SilentToken} from "../mocks/SilentToken.sol";
import {StreamTest} from "../utils/StreamTest.sol";

/// Tokens that do not do what they are asked, or more than that. Whatever they do, the account loses at most what the
/// vouchers say, and the books say what was moved or nothing.
contract TokenAttacksTest is StreamTest {
    function test_attack_tokenThatReturnsFalseBooksNothing() public {
        CallbackToken refusing = new CallbackToken();
        refusing.mint(account, 10e6);
        refusing.callNext(address(refusing), abi.encodeCall(IERC20.totalSupply, ()));
        refusing.refuseNext();
        expectRefused(address(refusing));
        assertEq(refusing.balanceOf(payee), 0);
    }

    /// NOT PREVENTED: a token that moves tokens and then does not say true is taken for one that refused, so the same voucher
    /// moves them again, past every limit. What the account approved is the bound.
    function test_limit_tokenThatMovesAndDoesNotSayTrueIsBoundByTheAllowanceOnly() public {
        OddToken token = new OddToken(Oddity.Two);
        token.mint(account, 100e6);
        (bytes32 id, bytes memory packed) = grantIn(address(token));
        vm.prank(account);
        token.approve(address(module), 10e6);
        bytes memory claims = pack(claimOf(id, 3e6));
        for (uint256 i = 0; i < 5; i++) {
            expectSkipped(id, payee, ISessionKeyValidator.TransferFailed.selector);
            assertEq(module.settle(account, packed, claims), 0);
        }
        assertEq(settledOf(id), 0);
        assertEq(token.balanceOf(payee), 9e6);
    }

    function test_attack_tokenThatReturnsNothingIsPaid() public {
        SilentToken silent = new SilentToken();
        silent.mint(account, 10e6);
        (bytes32 id, bytes memory packed) = grantIn(address(silent));
        assertEq(module.settle(account, packed, pack(claimOf(id, 3e6))), 3e6);
        assertEq(silent.balanceOf(payee), 3e6);
    }

    function test_attack_tokenWithoutCodeBooksNothing() public {
        expectRefused(makeAddr("no code"));
        // Nor one that gets code that is no token's.
        expectRefused(address(this));
    }

    /// The payee bears a fee: the books count what leaves the account, so a grant never costs it more than its limit.
    function test_attack_tokenThatKeepsAFeeCostsTheAccountNoMoreThanTheLimit() public {
        OddToken token = new OddToken(Oddity.Fee);
        token.mint(account, 1000e6);
        (bytes32 id, bytes memory packed) = grantIn(address(token));
        vm.prank(account);
        token.approve(address(module), type(uint256).max);
        assertEq(module.settle(account, packed, pack(claimOf(id, 100e6))), 100e6);
        assertEq(token.balanceOf(payee), 99e6);
        assertEq(token.balanceOf(account), 900e6);
        assertEq(settledOf(id), 100e6);
        expectSkipped(id, payee, ISessionKeyValidator.TotalLimitExceeded.selector);
        module.settle(account, packed, pack(claimOf(id, 101e6)));
    }

    /// A token that says it moved what it did not move uses the budget up. Its payees alone are harmed, and chose to take it.
    function test_attack_tokenThatLiesCostsTheAccountNothing() public {
        OddToken token = new OddToken(Oddity.Lie);
        token.mint(account, 10e6);
        (bytes32 id, bytes memory packed) = grantIn(address(token));
        vm.prank(account);
        token.approve(address(module), 10e6);
        module.settle(account, packed, pack(claimOf(id, 3e6)));
        assertEq(token.balanceOf(account), 10e6);
        assertEq(settledOf(id), 3e6);
    }

    function test_attack_tokenThatAnswersOrRevertsAtLengthIsNotRead() public {
        Oddity[2] memory oddities = [Oddity.LongAnswer, Oddity.LongRevert];
        for (uint256 i = 0; i < oddities.length; i++) {
            OddToken token = new OddToken(oddities[i]);
            token.mint(account, 10e6);
            (bytes32 id, bytes memory packed) = grantIn(address(token));
            vm.prank(account);
            token.approve(address(module), 10e6);
            // Copying 64 KiB back would take some 20k more.
            uint256 paid = module.settle{gas: 200_000}(account, packed, pack(claimOf(id, 3e6)));
            assertEq(paid, i == 0 ? 3e6 : 0);
            assertEq(settledOf(id), paid);
        }
    }

    function test_attack_tokenThatUsesAllGasBooksNothing() public {
        OddToken token = new OddToken(Oddity.BurnGas);
        token.mint(account, 10e6);
        (bytes32 id, bytes memory packed) = grantIn(address(token));
        vm.prank(account);
        token.approve(address(module), 10e6);
        bytes memory claims = pack(claimOf(id, 3e6));
        uint96[3] memory limits = [uint96(100_000), 1_000_000, 10_000_000];
        for (uint256 i = 0; i < limits.length; i++) {
            try module.settle{gas: limits[i]}(account, packed, claims) returns (uint256 paid) {
                assertEq(paid, 0);
            } catch {}
            assertEq(settledOf(id), 0);
        }
    }

    function test_attack_payeeThatATokenBlocksStopsNobodyElse() public {
        (bytes32 id, bytes memory packed) = grant(multiTerms());
        usdc.setBlocked(payee, true);
        bytes memory claims = bytes.concat(pack(claimOf(id, payee, 3e6)), pack(claimOf(id, otherPayee, 4e6)));
        expectSkipped(id, payee, ISessionKeyValidator.TransferFailed.selector);
        expectSettled(id, otherPayee, 4e6, 4e6);
        assertEq(module.settle(account, packed, claims), 4e6);
        usdc.setBlocked(payee, false);
        assertEq(module.settle(account, packed, claims), 3e6);
    }

    /// Whatever a token calls while it moves: nothing is paid twice, nothing unsigned, and a stop is kept.
    function test_attack_tokenThatCallsBackPaysNothingTwice() public {
        bytes[6] memory callbacks;
        for (uint256 i = 0; i < callbacks.length; i++) {
            uint256 before = vm.snapshotState();
            CallbackToken token = new CallbackToken();
            token.mint(account, 100e6);
            vm.prank(account);
            token.approve(address(module), type(uint256).max);
            vm.prank(account);
            module.setGuardian(address(token));
            Terms memory terms = multiTerms();
            terms.token = address(token);
            (bytes32 id, bytes memory packed) = grant(terms);
            bytes memory claims = bytes.concat(pack(claimOf(id, payee, 3e6)), pack(claimOf(id, otherPayee, 4e6)));
            callbacks = [
                abi.encodeCall(ISessionKeyValidator.settle, (account, packed, claims)),
                abi.encodeCall(ISessionKeyValidator.freeze, (account, id)),
                abi.encodeCall(ISessionKeyValidator.freezeAll, (account)),
                abi.encodeCall(ISessionKeyValidator.revoke, (account, id)),
                abi.encodeCall(ISessionKeyValidator.revokeAll, (account)),
                abi.encodeCall(ISessionKeyValidator.settle, (account, packed, pack(claimOf(id, payee, 9e6))))
            ];
            token.callNext(address(module), callbacks[i]);
            uint256 paid = module.settle(account, packed, claims);
            // The outer call's first claim is paid; after a stop that is all.
            assertEq(paid, i == 0 ? 3e6 : i == 5 ? 7e6 : 3e6);
            assertEq(token.balanceOf(payee), i == 5 ? 9e6 : 3e6);
            assertEq(token.balanceOf(otherPayee), i == 0 || i == 5 ? 4e6 : 0);
            assertEq(settledOf(id), token.balanceOf(payee) + token.balanceOf(otherPayee));
            assertTrue(vm.revertToState(before));
        }
    }

    // ---------------------------------------------------------------------------------------------------- helpers

    function grantIn(address token) internal returns (bytes32 id, bytes memory packed) {
        Terms memory terms = singleTerms();
        terms.token = token;
        return grant(terms);
    }

    function expectRefused(address token) internal {
        (bytes32 id, bytes memory packed) = grantIn(token);
        if (token.code.length > 0 && token != address(this)) {
            vm.prank(account);
            IERC20(token).approve(address(module), type(uint256).max);
        }
        expectSkipped(id, payee, ISessionKeyValidator.TransferFailed.selector);
        assertEq(module.settle(account, packed, pack(claimOf(id, 3e6))), 0);
        assertEq(settledOf(id), 0);
        assertEq(module.channelSettled(account, packed, payee), 0);
        assertStatus(id, Status.Active);
    }
}
