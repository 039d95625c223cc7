// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {ISessionKeyValidator, Status, Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {CallbackToken} from "../mocks/CallbackToken.sol";
import {StreamTest} from "../utils/StreamTest.sol";

/// Claims that are not paid: for which reason, and that they change nothing and stop nobody else.
contract SessionKeyValidatorSkipTest is StreamTest {
    bytes32 internal grantId;
    bytes internal terms;
    bytes32 internal multiId;
    bytes internal multi;

    function setUp() public override {
        super.setUp();
        (grantId, terms) = grant(singleTerms());
        (multiId, multi) = grant(multiTerms());
    }

    function test_settle_skipsAVoucherOfAnotherKey() public {
        Claim memory claim = claimOf(grantId, 3e6);
        claim.signature = signCompact(settler, module.hashVoucher(grantId, payee, 3e6));
        expectSkip(terms, grantId, claim, ISessionKeyValidator.InvalidSignature.selector);
    }

    function test_settle_skipsAVoucherForAnotherAmount() public {
        Claim memory claim = claimOf(grantId, 3e6);
        claim.cumulativeAmount = 4e6;
        expectSkip(terms, grantId, claim, ISessionKeyValidator.InvalidSignature.selector);
    }

    function test_settle_skipsASignatureThatIsNone() public {
        Claim memory claim = claimOf(grantId, 3e6);
        claim.signature = new bytes(64);
        expectSkip(terms, grantId, claim, ISessionKeyValidator.InvalidSignature.selector);
    }

    function test_settle_skipsASignatureWithHighS() public {
        Claim memory claim = claimOf(grantId, 3e6);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(sessionKey.secret, module.hashVoucher(grantId, payee, 3e6));
        uint256 highS = CURVE_ORDER - uint256(s);
        claim.signature = abi.encodePacked(r, highS | (uint256(28 - v) << 255));
        expectSkip(terms, grantId, claim, ISessionKeyValidator.InvalidSignature.selector);
    }

    function test_settle_skipsAPayeeWhoIsNotTheGrants() public {
        bytes32[] memory none = new bytes32[](0);
        Claim memory claim = claimOf(grantId, stranger, 3e6, 3e6, none);
        expectSkip(terms, grantId, claim, ISessionKeyValidator.InvalidProof.selector);
        claim = claimOf(multiId, stranger, 3e6, 3e6, proofOf(payee));
        expectSkip(multi, multiId, claim, ISessionKeyValidator.InvalidProof.selector);
        // One of the payees, but without its proof.
        claim = claimOf(multiId, payee, 3e6, 3e6, none);
        expectSkip(multi, multiId, claim, ISessionKeyValidator.InvalidProof.selector);
    }

    function test_settle_skipsAnInnerNodePresentedAsPayee() public {
        // A tree of one level: its root is the hash of two leaves, which nobody can present as the hash of an address.
        bytes32[] memory proof = new bytes32[](2);
        (proof[0], proof[1]) = (leaf(payee), leaf(otherPayee));
        Claim memory claim = claimOf(multiId, address(bytes20(multiTerms().payeeRoot)), 3e6, 3e6, proof);
        expectSkip(multi, multiId, claim, ISessionKeyValidator.InvalidProof.selector);
    }

    function test_settle_skipsWhatIsNotNew() public {
        module.settle(account, terms, pack(claimOf(grantId, 3e6)));
        expectSkip(terms, grantId, claimOf(grantId, 3e6), ISessionKeyValidator.NothingDue.selector);
        expectSkip(terms, grantId, claimOf(grantId, 2e6), ISessionKeyValidator.NothingDue.selector);
        expectSkip(terms, grantId, claimOf(grantId, 0), ISessionKeyValidator.NothingDue.selector);
    }

    function test_settle_skipsAnAmountAboveTheVoucher() public {
        Claim memory claim = claimOf(grantId, payee, 4e6, 3e6, new bytes32[](0));
        expectSkip(terms, grantId, claim, ISessionKeyValidator.AmountAboveVoucher.selector);
    }

    function test_settle_skipsWhatIsAboveTheTotalLimit() public {
        expectSkip(terms, grantId, claimOf(grantId, 100e6 + 1), ISessionKeyValidator.TotalLimitExceeded.selector);
        module.settle(account, multi, pack(claimOf(multiId, payee, 60e6)));
        Claim memory claim = claimOf(multiId, otherPayee, 40e6 + 1);
        expectSkip(multi, multiId, claim, ISessionKeyValidator.TotalLimitExceeded.selector);
        assertEq(module.settle(account, multi, pack(claimOf(multiId, otherPayee, 40e6))), 40e6);
        expectSkip(terms, grantId, claimOf(grantId, type(uint96).max), ISessionKeyValidator.TotalLimitExceeded.selector);
    }

    function test_settle_skipsWhatIsAboveThePeriodLimit() public {
        Terms memory periodic = multiTerms();
        (periodic.periodLimit, periodic.period) = (10e6, 3600);
        (bytes32 id, bytes memory packed) = grant(periodic);
        expectSkip(packed, id, claimOf(id, payee, 10e6 + 1), ISessionKeyValidator.PeriodLimitExceeded.selector);
        module.settle(account, packed, pack(claimOf(id, payee, 6e6)));
        expectSkip(packed, id, claimOf(id, otherPayee, 4e6 + 1), ISessionKeyValidator.PeriodLimitExceeded.selector);
        assertEq(module.settle(account, packed, pack(claimOf(id, otherPayee, 4e6))), 4e6);
    }

    function test_settle_skipsWhatTheTokenRefuses() public {
        usdc.setBlocked(payee, true);
        expectSkip(terms, grantId, claimOf(grantId, 3e6), ISessionKeyValidator.TransferFailed.selector);
        usdc.setBlocked(payee, false);
        vm.prank(account);
        usdc.approve(address(module), 3e6 - 1);
        expectSkip(terms, grantId, claimOf(grantId, 3e6), ISessionKeyValidator.TransferFailed.selector);
        vm.prank(account);
        usdc.approve(address(module), 3e6);
        assertEq(module.settle(account, terms, pack(claimOf(grantId, 3e6))), 3e6);
    }

    function test_settle_skipsWhatTheTokenRefusesWithinAPeriod() public {
        Terms memory periodic = multiTerms();
        (periodic.periodLimit, periodic.period) = (10e6, 3600);
        (bytes32 id, bytes memory packed) = grant(periodic);
        module.settle(account, packed, pack(claimOf(id, payee, 2e6)));
        vm.warp(START + 3600);
        usdc.setBlocked(payee, true);
        module.settle(account, packed, pack(claimOf(id, payee, 12e6)));
        (, uint96 settled,, uint96 periodSettled) = module.grantState(account, id);
        assertEq(settled, 2e6);
        assertEq(periodSettled, 0);
        assertEq(module.channelSettled(account, packed, payee), 2e6);
        usdc.setBlocked(payee, false);
        assertEq(module.settle(account, packed, pack(claimOf(id, payee, 12e6))), 10e6);
    }

    function test_settle_skipsATokenWithoutCode() public {
        Terms memory codeless = singleTerms();
        codeless.token = makeAddr("no code");
        (bytes32 id, bytes memory packed) = grant(codeless);
        expectSkip(packed, id, claimOf(id, 3e6), ISessionKeyValidator.TransferFailed.selector);
    }

    function test_settle_skipsATokenThatReturnsFalse() public {
        (CallbackToken token, bytes32 id, bytes memory packed) = callbackGrant();
        token.callNext(address(token), abi.encodeCall(token.decimals, ()));
        token.refuseNext();
        expectSkip(packed, id, claimOf(id, payee, 3e6), ISessionKeyValidator.TransferFailed.selector);
        assertEq(module.settle(account, packed, pack(claimOf(id, payee, 3e6))), 3e6);
    }

    function test_settle_paysTheOthersWhenOneIsSkipped() public {
        usdc.setBlocked(payee, true);
        bytes memory claims = bytes.concat(
            pack(claimOf(multiId, payee, 3e6)),
            pack(claimOf(multiId, stranger, 3e6)),
            pack(claimOf(multiId, otherPayee, 4e6))
        );
        expectSkipped(multiId, payee, ISessionKeyValidator.TransferFailed.selector);
        expectSkipped(multiId, stranger, ISessionKeyValidator.InvalidProof.selector);
        expectSettled(multiId, otherPayee, 4e6, 4e6);
        assertEq(module.settle(account, multi, claims), 4e6);
        assertEq(settledOf(multiId), 4e6);
    }

    // ---------------------------------------------------------------------------------------------------- callbacks

    function test_settle_paysOnceWhenTheTokenSettlesTheSameClaimAgain() public {
        (CallbackToken token, bytes32 id, bytes memory packed) = callbackGrant();
        bytes memory claims = pack(claimOf(id, payee, 3e6));
        token.callNext(address(module), abi.encodeCall(module.settle, (account, packed, claims)));
        expectSkipped(id, payee, ISessionKeyValidator.NothingDue.selector);
        assertEq(module.settle(account, packed, claims), 3e6);
        assertEq(token.balanceOf(payee), 3e6);
        assertEq(module.channelSettled(account, packed, payee), 3e6);
    }

    function test_settle_paysOnceWhenTheTokenSettlesMoreAndRefusesTheFirst() public {
        (CallbackToken token, bytes32 id, bytes memory packed) = callbackGrant();
        bytes memory more = pack(claimOf(id, payee, 5e6));
        bytes memory claims = pack(claimOf(id, payee, 3e6));
        token.callNext(address(module), abi.encodeCall(module.settle, (account, packed, more)));
        token.refuseNext();
        assertEq(module.settle(account, packed, claims), 0);
        // The inner call paid 2, what came on top of the 3 that the token then refused.
        assertEq(token.balanceOf(payee), 2e6);
        assertEq(module.channelSettled(account, packed, payee), 2e6);
        assertEq(settledOf(id), 2e6);
        assertEq(module.settle(account, packed, more), 3e6);
        assertEq(token.balanceOf(payee), 5e6);
    }

    function test_settle_keepsAFreezeThatTheTokenCausedAndPaysNoFurtherClaim() public {
        (CallbackToken token, bytes32 id, bytes memory packed) = callbackGrant();
        vm.prank(account);
        module.setGuardian(address(token));
        token.callNext(address(module), abi.encodeCall(module.freeze, (account, id)));
        bytes memory claims = bytes.concat(pack(claimOf(id, payee, 3e6)), pack(claimOf(id, otherPayee, 4e6)));
        expectSettled(id, payee, 3e6, 3e6);
        expectSkipped(id, otherPayee, ISessionKeyValidator.GrantStopped.selector);
        assertEq(module.settle(account, packed, claims), 3e6);
        assertStatus(id, Status.Frozen);
    }

    function test_settle_keepsAFreezeThatTheTokenCausedBeforeItRefused() public {
        (CallbackToken token, bytes32 id, bytes memory packed) = callbackGrant();
        vm.prank(account);
        module.setGuardian(address(token));
        token.callNext(address(module), abi.encodeCall(module.freeze, (account, id)));
        token.refuseNext();
        assertEq(module.settle(account, packed, pack(claimOf(id, payee, 3e6))), 0);
        assertStatus(id, Status.Frozen);
        assertEq(settledOf(id), 0);
    }

    function test_settle_paysNoFurtherClaimWhenTheTokenStoppedTheAccount() public {
        (CallbackToken token, bytes32 id, bytes memory packed) = callbackGrant();
        vm.prank(account);
        module.setGuardian(address(token));
        bytes memory claims = bytes.concat(pack(claimOf(id, payee, 3e6)), pack(claimOf(id, otherPayee, 4e6)));
        uint256 before = vm.snapshotState();

        token.callNext(address(module), abi.encodeCall(module.freezeAll, (account)));
        expectSkipped(id, otherPayee, ISessionKeyValidator.GrantStopped.selector);
        assertEq(module.settle(account, packed, claims), 3e6);

        assertTrue(vm.revertToState(before));
        token.callNext(address(module), abi.encodeCall(module.revokeAll, (account)));
        expectSkipped(id, otherPayee, ISessionKeyValidator.GrantStopped.selector);
        assertEq(module.settle(account, packed, claims), 3e6);
    }

    /// A grant to both payees in a token that calls back.
    function callbackGrant() internal returns (CallbackToken token, bytes32 id, bytes memory packed) {
        token = new CallbackToken();
        token.mint(account, FUNDS);
        vm.prank(account);
        token.approve(address(module), type(uint256).max);
        Terms memory callback = multiTerms();
        callback.token = address(token);
        (id, packed) = grant(callback);
    }

    /// Settles one claim, which must be skipped for this reason and change nothing.
    function expectSkip(bytes memory packed, bytes32 id, Claim memory claim, bytes4 reason) internal {
        uint256 balance = usdc.balanceOf(account);
        bytes32 before = stateOf(packed, id, claim.payee);
        expectSkipped(id, claim.payee, reason);
        assertEq(module.settle(account, packed, pack(claim)), 0);
        assertEq(stateOf(packed, id, claim.payee), before);
        assertEq(usdc.balanceOf(account), balance);
    }

    function stateOf(bytes memory packed, bytes32 id, address to) internal view returns (bytes32) {
        (Status status, uint96 settled,, uint96 periodSettled) = module.grantState(account, id);
        return keccak256(abi.encode(status, settled, periodSettled, module.channelSettled(account, packed, to)));
    }
}
