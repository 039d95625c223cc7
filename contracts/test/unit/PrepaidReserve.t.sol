// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {ERC3009} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {stdError} from "forge-std/StdError.sol";
import {IPrepaidReserve} from "../../src/interfaces/IPrepaidReserve.sol";
import {ISessionKeyValidator, Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {CallbackToken} from "../mocks/CallbackToken.sol";
import {OddToken, Oddity} from "../mocks/OddToken.sol";
import {PhantomPermitToken} from "../mocks/PhantomPermitToken.sol";
import {SilentToken} from "../mocks/SilentToken.sol";
import {TestUSDC} from "../mocks/TestUSDC.sol";
import {StreamTest} from "../utils/StreamTest.sol";

/// Filling a pool, asking it back, and what the module pays from it.
contract PrepaidReserveTest is StreamTest {
    IPrepaidReserve internal reserve;
    /// The account's own key, for what it signs, and somebody else who pays in.
    Key internal accountKey = makeKey("account");
    Key internal sponsor = makeKey("sponsor");

    function setUp() public override {
        super.setUp();
        reserve = module.reserve();
        usdc.mint(sponsor.addr, FUNDS);
        vm.prank(sponsor.addr);
        usdc.approve(address(reserve), type(uint256).max);
    }

    // ---------------------------------------------------------------------------------------------------- deposit

    function test_module_isTheOneThatMadeIt() public view {
        assertEq(reserve.module(), address(module));
        assertEq(reserve.WITHDRAWAL_DELAY(), 1 days);
    }

    function test_deposit_creditsTheAccountWhoeverPays() public {
        vm.expectEmit(address(reserve));
        emit IPrepaidReserve.Deposited(account, address(usdc), sponsor.addr, 10e6);
        deposit(10e6);
        assertPool(10e6, 0, 0);
        deposit(5e6);
        assertPool(15e6, 0, 0);
        assertEq(usdc.balanceOf(address(reserve)), 15e6);
        assertEq(usdc.balanceOf(sponsor.addr), FUNDS - 15e6);
        (uint96 ofSponsor,,) = reserve.poolOf(sponsor.addr, address(usdc));
        assertEq(ofSponsor, 0);
    }

    function test_deposit_keepsAccountsAndTokensApart() public {
        TestUSDC other = new TestUSDC();
        other.mint(sponsor.addr, 3e6);
        vm.startPrank(sponsor.addr);
        other.approve(address(reserve), 3e6);
        reserve.deposit(account, address(other), 3e6);
        reserve.deposit(stranger, address(usdc), 7e6);
        vm.stopPrank();
        assertPool(0, 0, 0);
        (uint96 ofOther,,) = reserve.poolOf(account, address(other));
        (uint96 ofStranger,,) = reserve.poolOf(stranger, address(usdc));
        assertEq(ofOther, 3e6);
        assertEq(ofStranger, 7e6);
    }

    function test_deposit_revertsForNobodyForNothingAndForMoreThanAPoolHolds() public {
        vm.startPrank(sponsor.addr);
        vm.expectRevert(abi.encodeWithSelector(IPrepaidReserve.InvalidAccount.selector, address(0)));
        reserve.deposit(address(0), address(usdc), 1);
        vm.expectRevert(abi.encodeWithSelector(IPrepaidReserve.InvalidAmount.selector, 0));
        reserve.deposit(account, address(usdc), 0);
        uint256 tooMuch = uint256(type(uint96).max) + 1;
        usdc.mint(sponsor.addr, tooMuch);
        vm.expectRevert(abi.encodeWithSelector(IPrepaidReserve.InvalidAmount.selector, tooMuch));
        reserve.deposit(account, address(usdc), tooMuch);
        // In two parts neither.
        reserve.deposit(account, address(usdc), type(uint96).max);
        vm.expectRevert(stdError.arithmeticError);
        reserve.deposit(account, address(usdc), 1);
        vm.stopPrank();
    }

    function test_deposit_revertsForATokenThatKeepsAFeeOrLies() public {
        OddToken fee = oddToken(Oddity.Fee);
        vm.expectRevert(abi.encodeWithSelector(IPrepaidReserve.InexactTransfer.selector, 99, 100));
        reserve.deposit(account, address(fee), 100);
        OddToken liar = oddToken(Oddity.Lie);
        vm.expectRevert(abi.encodeWithSelector(IPrepaidReserve.InexactTransfer.selector, 0, 100));
        reserve.deposit(account, address(liar), 100);
    }

    function test_deposit_revertsForWhatIsNoToken() public {
        vm.expectRevert();
        reserve.deposit(account, stranger, 100);
        vm.expectRevert();
        reserve.deposit(account, address(module), 100);
    }

    function test_deposit_revertsWhenTheTokenRefuses() public {
        CallbackToken token = callbackToken();
        token.callNext(address(token), abi.encodeCall(token.decimals, ()));
        token.refuseNext();
        vm.expectRevert(abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, token));
        reserve.deposit(account, address(token), 100);
        assertEq(poolOf(address(token)), 0);
    }

    function test_deposit_takesATokenThatReturnsNothing() public {
        SilentToken silent = new SilentToken();
        silent.mint(address(this), 100);
        reserve.deposit(account, address(silent), 100);
        assertEq(poolOf(address(silent)), 100);
    }

    // ---------------------------------------------------------------------------------------------------- EIP-3009

    function test_depositWithAuthorization_creditsTheAccountWhoeverSendsIt() public {
        bytes memory signature = authorize(sponsor, account, 10e6, "salt");
        vm.expectEmit(address(reserve));
        emit IPrepaidReserve.Deposited(account, address(usdc), sponsor.addr, 10e6);
        vm.prank(stranger);
        depositAuthorized(account, 10e6, "salt", signature);
        assertPool(10e6, 0, 0);
        assertEq(usdc.balanceOf(sponsor.addr), FUNDS - 10e6);
        assertTrue(usdc.authorizationState(sponsor.addr, keccak256(abi.encode(account, bytes32("salt")))));
    }

    function test_depositWithAuthorization_cannotBeTurnedToAnotherAccount() public {
        bytes memory signature = authorize(sponsor, account, 10e6, "salt");
        vm.startPrank(stranger);
        vm.expectRevert(ERC3009.ERC3009InvalidSignature.selector);
        depositAuthorized(stranger, 10e6, "salt", signature);
        vm.expectRevert(ERC3009.ERC3009InvalidSignature.selector);
        depositAuthorized(account, 11e6, "salt", signature);
        vm.expectRevert(ERC3009.ERC3009InvalidSignature.selector);
        depositAuthorized(account, 10e6, "other salt", signature);
        vm.stopPrank();
        depositAuthorized(account, 10e6, "salt", signature);
        assertPool(10e6, 0, 0);
    }

    function test_depositWithAuthorization_cannotBeUsedAtTheTokenByAStranger() public {
        bytes32 nonce = reserve.authorizationNonce(account, "salt");
        bytes memory signature = authorize(sponsor, account, 10e6, "salt");
        vm.startPrank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InvalidReceiver.selector, reserve));
        usdc.receiveWithAuthorization(sponsor.addr, address(reserve), 10e6, 0, START + 60, nonce, signature);
        vm.expectRevert(ERC3009.ERC3009InvalidSignature.selector);
        usdc.transferWithAuthorization(sponsor.addr, address(reserve), 10e6, 0, START + 60, nonce, signature);
        vm.stopPrank();
    }

    function test_depositWithAuthorization_countsOnceHoweverOftenItIsSent() public {
        bytes memory signature = authorize(sponsor, account, 10e6, "salt");
        vm.prank(stranger);
        depositAuthorized(account, 10e6, "salt", signature);
        bytes32 nonce = reserve.authorizationNonce(account, "salt");
        vm.expectRevert(abi.encodeWithSelector(ERC3009.ERC3009UsedAuthorization.selector, sponsor.addr, nonce));
        depositAuthorized(account, 10e6, "salt", signature);
        assertPool(10e6, 0, 0);
        depositAuthorized(account, 10e6, "another", authorize(sponsor, account, 10e6, "another"));
        assertPool(20e6, 0, 0);
    }

    function test_depositWithAuthorization_revertsForAnotherSignerAndWhenItIsOver() public {
        bytes memory signature = authorize(accountKey, account, 10e6, "salt");
        vm.expectRevert(ERC3009.ERC3009InvalidSignature.selector);
        depositAuthorized(account, 10e6, "salt", signature);
        signature = authorize(sponsor, account, 10e6, "salt");
        vm.warp(START + 60);
        vm.expectRevert(abi.encodeWithSelector(ERC3009.ERC3009InvalidAuthorizationTime.selector, 0, START + 60));
        depositAuthorized(account, 10e6, "salt", signature);
    }

    function test_depositWithAuthorization_revertsForATokenThatTakesAnyCall() public {
        PhantomPermitToken phantom = new PhantomPermitToken();
        phantom.mint(sponsor.addr, 10e6);
        vm.expectRevert(abi.encodeWithSelector(IPrepaidReserve.InexactTransfer.selector, 0, 10e6));
        reserve.depositWithAuthorization(account, address(phantom), sponsor.addr, 10e6, 0, START + 60, "salt", "");
    }

    // ---------------------------------------------------------------------------------------------------- EIP-2612

    function test_depositWithPermit_putsTheAccountsTokensIntoItsPoolWhoeverSendsIt() public {
        bytes memory signature = permit(accountKey, 10e6);
        vm.expectEmit(address(reserve));
        emit IPrepaidReserve.Deposited(account, address(usdc), account, 10e6);
        vm.prank(stranger);
        reserve.depositWithPermit(account, address(usdc), 10e6, START + 60, signature);
        assertPool(10e6, 0, 0);
        assertEq(usdc.balanceOf(account), FUNDS - 10e6);
        assertEq(usdc.allowance(account, address(reserve)), 0);
    }

    function test_depositWithPermit_revertsForAnotherSignerAmountOrTime() public {
        bytes memory signature = permit(sponsor, 10e6);
        bytes memory refusal = abi.encodeWithSelector(TestUSDC.InvalidPermit.selector, account);
        vm.expectRevert(refusal);
        reserve.depositWithPermit(account, address(usdc), 10e6, START + 60, signature);
        signature = permit(accountKey, 10e6);
        vm.expectRevert(refusal);
        reserve.depositWithPermit(account, address(usdc), 11e6, START + 60, signature);
        vm.warp(START + 61);
        vm.expectRevert(abi.encodeWithSelector(TestUSDC.ExpiredPermit.selector, START + 60));
        reserve.depositWithPermit(account, address(usdc), 10e6, START + 60, signature);
    }

    function test_depositWithPermit_usedByAStrangerAtTheTokenLeavesTheAccountItsDeposit() public {
        bytes memory signature = permit(accountKey, 10e6);
        vm.prank(stranger);
        usdc.permit(account, address(reserve), 10e6, START + 60, signature);
        vm.expectRevert(abi.encodeWithSelector(TestUSDC.InvalidPermit.selector, account));
        reserve.depositWithPermit(account, address(usdc), 10e6, START + 60, signature);
        // Nobody else can use the allowance.
        vm.expectRevert();
        vm.prank(stranger);
        reserve.deposit(stranger, address(usdc), 10e6);
        vm.prank(account);
        reserve.deposit(account, address(usdc), 10e6);
        assertPool(10e6, 0, 0);
    }

    /// With a token that takes any permit, a stranger can move what the account approved to the reserve, into the account's
    /// own pool: no loss, but a day's delay.
    function test_depositWithPermit_ofATokenThatTakesAnyPermitStaysTheAccountsMoney() public {
        PhantomPermitToken phantom = new PhantomPermitToken();
        phantom.mint(account, 10e6);
        vm.expectRevert();
        reserve.depositWithPermit(account, address(phantom), 10e6, START + 60, "");
        vm.prank(account);
        phantom.approve(address(reserve), 4e6);
        vm.startPrank(stranger);
        vm.expectRevert();
        reserve.depositWithPermit(account, address(phantom), 5e6, START + 60, "");
        reserve.depositWithPermit(account, address(phantom), 4e6, START + 60, "");
        vm.stopPrank();
        assertEq(poolOf(address(phantom)), 4e6);
        assertEq(withdrawAll(account, address(phantom), 4e6), 4e6);
        assertEq(phantom.balanceOf(account), 10e6);
    }

    // ---------------------------------------------------------------------------------------------------- withdrawal

    function test_requestWithdrawal_beginsTheDelay() public {
        deposit(10e6);
        vm.expectEmit(address(reserve));
        emit IPrepaidReserve.WithdrawalRequested(account, address(usdc), 4e6, START + 1 days);
        request(4e6);
        assertPool(10e6, 4e6, START + 1 days);
    }

    function test_requestWithdrawal_replacesAnEarlierOneAndStartsItsDelayAnew() public {
        deposit(10e6);
        request(4e6);
        vm.warp(START + 1 days - 1);
        request(1e6);
        assertPool(10e6, 1e6, START + 2 days - 1);
        vm.warp(START + 1 days);
        expectNotReady(START + 2 days - 1);
        vm.prank(account);
        reserve.withdraw(address(usdc), account);
    }

    function test_requestWithdrawal_revertsForNothingAndForMoreThanThereIs() public {
        deposit(10e6);
        vm.expectRevert(abi.encodeWithSelector(IPrepaidReserve.InvalidAmount.selector, 0));
        request(0);
        vm.expectRevert(abi.encodeWithSelector(IPrepaidReserve.InsufficientBalance.selector, 10e6, 10e6 + 1));
        request(10e6 + 1);
        request(10e6);
    }

    function test_cancelWithdrawal_endsTheRequest() public {
        deposit(10e6);
        request(4e6);
        vm.expectEmit(address(reserve));
        emit IPrepaidReserve.WithdrawalCancelled(account, address(usdc));
        vm.prank(account);
        reserve.cancelWithdrawal(address(usdc));
        assertPool(10e6, 0, 0);
        vm.warp(START + 1 days);
        vm.startPrank(account);
        vm.expectRevert(IPrepaidReserve.NoWithdrawal.selector);
        reserve.withdraw(address(usdc), account);
        vm.expectRevert(IPrepaidReserve.NoWithdrawal.selector);
        reserve.cancelWithdrawal(address(usdc));
        vm.stopPrank();
    }

    function test_withdraw_paysWhatWasAskedForFromTheLastSecondOfTheDelay() public {
        deposit(10e6);
        request(4e6);
        vm.warp(START + 1 days - 1);
        expectNotReady(START + 1 days);
        vm.prank(account);
        reserve.withdraw(address(usdc), stranger);
        vm.warp(START + 1 days);
        vm.expectEmit(address(reserve));
        emit IPrepaidReserve.Withdrawn(account, address(usdc), stranger, 4e6);
        vm.prank(account);
        assertEq(reserve.withdraw(address(usdc), stranger), 4e6);
        assertEq(usdc.balanceOf(stranger), 4e6);
        assertPool(6e6, 0, 0);
        vm.expectRevert(IPrepaidReserve.NoWithdrawal.selector);
        vm.prank(account);
        reserve.withdraw(address(usdc), stranger);
    }

    function test_withdraw_isForTheAccountAlone() public {
        deposit(10e6);
        request(10e6);
        vm.warp(START + 1 days);
        address[6] memory others = [stranger, guardian, sessionKey.addr, settler.addr, sponsor.addr, address(module)];
        for (uint256 i = 0; i < others.length; i++) {
            vm.startPrank(others[i]);
            vm.expectRevert(IPrepaidReserve.NoWithdrawal.selector);
            reserve.withdraw(address(usdc), others[i]);
            vm.expectRevert(IPrepaidReserve.NoWithdrawal.selector);
            reserve.cancelWithdrawal(address(usdc));
            vm.expectRevert(abi.encodeWithSelector(IPrepaidReserve.InsufficientBalance.selector, 0, 1));
            reserve.requestWithdrawal(address(usdc), 1);
            vm.stopPrank();
        }
        assertPool(10e6, 10e6, START + 1 days);
    }

    function test_withdraw_paysLessThanAskedForAfterDraws() public {
        deposit(10e6);
        request(8e6);
        draw(5e6);
        assertPool(5e6, 5e6, START + 1 days);
        vm.warp(START + 1 days);
        vm.prank(account);
        assertEq(reserve.withdraw(address(usdc), account), 5e6);
        assertPool(0, 0, 0);
    }

    function test_withdraw_paysNothingWhenDrawsTookAll() public {
        deposit(10e6);
        request(8e6);
        draw(10e6);
        vm.warp(START + 1 days);
        vm.prank(account);
        assertEq(reserve.withdraw(address(usdc), account), 0);
        assertPool(0, 0, 0);
    }

    function test_withdraw_neverPaysMoreThanAskedForWhateverIsDepositedLater() public {
        deposit(10e6);
        request(4e6);
        deposit(90e6);
        vm.warp(START + 1 days);
        vm.prank(account);
        assertEq(reserve.withdraw(address(usdc), account), 4e6);
        assertPool(96e6, 0, 0);
    }

    /// What a request covers is the pool, not the coins: a deposit that comes after draws fills up what was asked for, and
    /// poolOf shows it as withdrawing, so that nobody counts on it.
    function test_withdraw_coversDepositsThatReplacedWhatWasDrawn() public {
        deposit(10e6);
        request(10e6);
        draw(10e6);
        assertPool(0, 0, START + 1 days);
        deposit(4e6);
        assertPool(4e6, 4e6, START + 1 days);
        deposit(7e6);
        assertPool(11e6, 10e6, START + 1 days);
    }

    function test_withdraw_toABlockedAddressKeepsTheRequest() public {
        deposit(10e6);
        request(4e6);
        vm.warp(START + 1 days);
        usdc.setBlocked(stranger, true);
        vm.expectRevert(abi.encodeWithSelector(TestUSDC.Blocked.selector, stranger));
        vm.prank(account);
        reserve.withdraw(address(usdc), stranger);
        assertPool(10e6, 4e6, START + 1 days);
        vm.prank(account);
        assertEq(reserve.withdraw(address(usdc), account), 4e6);
    }

    function test_withdraw_needsNeitherTheModuleNorAnUnfrozenAccount() public {
        deposit(10e6);
        vm.prank(guardian);
        module.freezeAll(account);
        request(4e6);
        uninstall(account);
        vm.warp(START + 1 days);
        vm.prank(account);
        assertEq(reserve.withdraw(address(usdc), account), 4e6);
        assertEq(withdrawAll(account, address(usdc), 6e6), 6e6);
    }

    // ---------------------------------------------------------------------------------------------------- draw

    function test_draw_isForTheModuleAlone() public {
        deposit(10e6);
        address[5] memory others = [stranger, account, guardian, sessionKey.addr, payee];
        for (uint256 i = 0; i < others.length; i++) {
            vm.expectRevert(abi.encodeWithSelector(IPrepaidReserve.OnlyModule.selector, others[i]));
            vm.prank(others[i]);
            reserve.draw(account, address(usdc), payee, 1);
        }
    }

    function test_draw_paysThePayeeAlsoWhileAWithdrawalIsPending() public {
        deposit(10e6);
        draw(1e6);
        request(9e6);
        draw(2e6);
        assertEq(usdc.balanceOf(payee), 3e6);
        assertPool(7e6, 7e6, START + 1 days);
    }

    function test_draw_isFalseAndChangesNothingWhenThePoolIsTooLow() public {
        deposit(10e6);
        vm.prank(sponsor.addr);
        reserve.deposit(stranger, address(usdc), 50e6);
        vm.startPrank(address(module));
        assertFalse(reserve.draw(account, address(usdc), payee, 10e6 + 1));
        assertFalse(reserve.draw(account, address(usdc), payee, uint256(type(uint96).max) + 1 + 10e6));
        vm.stopPrank();
        assertPool(10e6, 0, 0);
        assertEq(usdc.balanceOf(payee), 0);
    }

    function test_draw_isFalseAndChangesNothingWhenTheTokenRefuses() public {
        deposit(10e6);
        request(4e6);
        usdc.setBlocked(payee, true);
        vm.prank(address(module));
        assertFalse(reserve.draw(account, address(usdc), payee, 1e6));
        assertPool(10e6, 4e6, START + 1 days);
    }

    // ---------------------------------------------------------------------------------------------------- callbacks

    function test_callback_depositWithinADepositReverts() public {
        CallbackToken token = callbackToken();
        bytes memory inner = abi.encodeCall(reserve.deposit, (account, address(token), 40));
        fund(token, address(token));
        token.callNext(address(reserve), inner);
        vm.expectRevert(abi.encodeWithSelector(IPrepaidReserve.InexactTransfer.selector, 140, 100));
        reserve.deposit(account, address(token), 100);
        assertEq(poolOf(address(token)), 0);
        assertEq(token.balanceOf(address(reserve)), 0);
    }

    function test_callback_withdrawalWithinADepositReverts() public {
        CallbackToken token = callbackToken();
        fund(token, address(token));
        vm.startPrank(address(token));
        reserve.deposit(address(token), address(token), 60);
        reserve.requestWithdrawal(address(token), 60);
        vm.stopPrank();
        vm.warp(START + 1 days);
        token.callNext(address(reserve), abi.encodeCall(reserve.withdraw, (address(token), stranger)));
        vm.expectRevert(abi.encodeWithSelector(IPrepaidReserve.InexactTransfer.selector, 40, 100));
        reserve.deposit(account, address(token), 100);
        assertEq(token.balanceOf(address(reserve)), 60);
    }

    function test_callback_drawWithinADepositReverts() public {
        (CallbackToken token, bytes memory settlement) = callbackGrant(50);
        token.callNext(address(module), settlement);
        vm.expectRevert(abi.encodeWithSelector(IPrepaidReserve.InexactTransfer.selector, 70, 100));
        reserve.deposit(account, address(token), 100);
        assertEq(poolOf(address(token)), 50);
        assertEq(token.balanceOf(payee), 0);
    }

    function test_callback_withdrawalWithinAWithdrawalPaysOnce() public {
        CallbackToken token = callbackToken();
        fund(token, address(token));
        vm.startPrank(address(token));
        reserve.deposit(address(token), address(token), 60);
        reserve.requestWithdrawal(address(token), 40);
        vm.warp(START + 1 days);
        token.callNext(address(reserve), abi.encodeCall(reserve.withdraw, (address(token), stranger)));
        // The inner one finds no request; the token insists, and so reverts it all.
        vm.expectRevert("callback failed");
        reserve.withdraw(address(token), stranger);
        token.callNext(address(0), "");
        assertEq(reserve.withdraw(address(token), stranger), 40);
        vm.stopPrank();
        assertEq(token.balanceOf(address(reserve)), 20);
    }

    function test_callback_depositWithinADrawCountsBoth() public {
        (CallbackToken token, bytes memory settlement) = callbackGrant(50);
        fund(token, address(token));
        token.callNext(address(reserve), abi.encodeCall(reserve.deposit, (account, address(token), 15)));
        (bool success,) = address(module).call(settlement);
        assertTrue(success);
        assertEq(token.balanceOf(payee), 30);
        assertEq(poolOf(address(token)), 35);
        assertEq(token.balanceOf(address(reserve)), 35);
    }

    function test_callback_depositWithinADrawThatIsThenRefusedCountsBoth() public {
        (CallbackToken token, bytes memory settlement) = callbackGrant(50);
        fund(token, address(token));
        token.callNext(address(reserve), abi.encodeCall(reserve.deposit, (account, address(token), 15)));
        token.refuseNext();
        (bool success,) = address(module).call(settlement);
        assertTrue(success);
        assertEq(token.balanceOf(payee), 0);
        assertEq(poolOf(address(token)), 65);
        assertEq(token.balanceOf(address(reserve)), 65);
    }

    function test_callback_settlementWithinADrawPaysOnce() public {
        (CallbackToken token, bytes memory settlement) = callbackGrant(50);
        token.callNext(address(module), settlement);
        (bool success,) = address(module).call(settlement);
        assertTrue(success);
        assertEq(token.balanceOf(payee), 30);
        assertEq(poolOf(address(token)), 20);
    }

    // ---------------------------------------------------------------------------------------------------- helpers

    /// By somebody else.
    function deposit(uint256 amount) internal {
        vm.prank(sponsor.addr);
        reserve.deposit(account, address(usdc), amount);
    }

    function request(uint96 amount) internal {
        vm.prank(account);
        reserve.requestWithdrawal(address(usdc), amount);
    }

    function draw(uint256 amount) internal {
        vm.prank(address(module));
        assertTrue(reserve.draw(account, address(usdc), payee, amount));
    }

    function withdrawAll(address who, address token, uint96 amount) internal returns (uint256) {
        vm.startPrank(who);
        reserve.requestWithdrawal(token, amount);
        vm.warp(vm.getBlockTimestamp() + 1 days);
        amount = uint96(reserve.withdraw(token, who));
        vm.stopPrank();
        return amount;
    }

    /// The EIP-3009 signature of `from` for a deposit to `who`, valid for a minute.
    function authorize(Key memory from, address who, uint256 amount, bytes32 salt)
        internal
        view
        returns (bytes memory)
    {
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256(
                    "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
                ),
                sponsor.addr,
                reserve,
                amount,
                0,
                START + 60,
                keccak256(abi.encode(who, salt))
            )
        );
        return sign(from, keccak256(abi.encodePacked(hex"1901", usdc.DOMAIN_SEPARATOR(), structHash)));
    }

    function depositAuthorized(address who, uint256 amount, bytes32 salt, bytes memory signature) internal {
        reserve.depositWithAuthorization(who, address(usdc), sponsor.addr, amount, 0, START + 60, salt, signature);
    }

    /// A permit of the account for the reserve, valid for a minute, signed by `key`.
    function permit(Key memory key, uint256 amount) internal view returns (bytes memory) {
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"),
                account,
                reserve,
                amount,
                usdc.nonces(account),
                START + 60
            )
        );
        return sign(key, keccak256(abi.encodePacked(hex"1901", usdc.DOMAIN_SEPARATOR(), structHash)));
    }

    function oddToken(Oddity oddity) internal returns (OddToken token) {
        token = new OddToken(oddity);
        token.mint(address(this), 1000);
        token.approve(address(reserve), 1000);
    }

    function callbackToken() internal returns (CallbackToken token) {
        token = new CallbackToken();
        fund(token, address(this));
    }

    function fund(CallbackToken token, address who) internal {
        token.mint(who, 1000);
        vm.prank(who);
        token.approve(address(reserve), 1000);
    }

    /// A reserve grant in a token that calls back, with `pool` in the pool, and the call that settles 30 of it.
    function callbackGrant(uint256 pool) internal returns (CallbackToken token, bytes memory settlement) {
        token = callbackToken();
        Terms memory terms = singleTerms();
        (terms.token, terms.source) = (address(token), 1);
        (bytes32 id, bytes memory packed) = grant(terms);
        reserve.deposit(account, address(token), pool);
        settlement = abi.encodeCall(ISessionKeyValidator.settle, (account, packed, pack(claimOf(id, 30))));
    }

    function poolOf(address token) internal view returns (uint256 balance) {
        (balance,,) = reserve.poolOf(account, token);
    }

    function assertPool(uint96 balance, uint96 withdrawing, uint64 withdrawableAt) internal view {
        (uint96 balance_, uint96 withdrawing_, uint64 withdrawableAt_) = reserve.poolOf(account, address(usdc));
        assertEq(balance_, balance, "balance");
        assertEq(withdrawing_, withdrawing, "withdrawing");
        assertEq(withdrawableAt_, withdrawableAt, "withdrawableAt");
    }

    function expectNotReady(uint64 withdrawableAt) internal {
        vm.expectRevert(abi.encodeWithSelector(IPrepaidReserve.WithdrawalNotReady.selector, withdrawableAt));
    }
}
