// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {ISessionKeyValidator, Status, Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {SilentToken} from "../mocks/SilentToken.sol";
import {StreamTest} from "../utils/StreamTest.sol";

/// What `settle` pays, and what it refuses as a whole.
contract SessionKeyValidatorSettleTest is StreamTest {
    bytes32 internal grantId;
    bytes internal terms;
    bytes32 internal multiId;
    bytes internal multi;

    function setUp() public override {
        super.setUp();
        (grantId, terms) = grant(singleTerms());
        (multiId, multi) = grant(multiTerms());
    }

    // ---------------------------------------------------------------------------------------------------- paying

    function test_settle_paysTheVoucherWhoeverCalls() public {
        bytes memory claims = pack(claimOf(grantId, 3e6));
        expectSettled(grantId, payee, 3e6, 3e6);
        vm.prank(stranger);
        assertEq(module.settle(account, terms, claims), 3e6);
        assertEq(usdc.balanceOf(payee), 3e6);
        assertEq(usdc.balanceOf(account), FUNDS - 3e6);
    }

    function test_settle_paysOnlyWhatIsNew() public {
        module.settle(account, terms, pack(claimOf(grantId, 3e6)));
        bytes memory claims = pack(claimOf(grantId, 5e6));
        expectSettled(grantId, payee, 2e6, 5e6);
        assertEq(module.settle(account, terms, claims), 2e6);
        assertEq(module.channelSettled(account, terms, payee), 5e6);
    }

    function test_settle_paysPartOfAVoucherThenTheRest() public {
        bytes32[] memory none = new bytes32[](0);
        assertEq(module.settle(account, terms, pack(claimOf(grantId, payee, 1e6, 9e6, none))), 1e6);
        assertEq(module.settle(account, terms, pack(claimOf(grantId, payee, 9e6, 9e6, none))), 8e6);
    }

    function test_settle_paysSeveralPayeesInOneCall() public {
        bytes memory claims = bytes.concat(pack(claimOf(multiId, payee, 3e6)), pack(claimOf(multiId, otherPayee, 4e6)));
        expectSettled(multiId, payee, 3e6, 3e6);
        expectSettled(multiId, otherPayee, 4e6, 4e6);
        assertEq(module.settle(account, multi, claims), 7e6);
        assertEq(settledOf(multiId), 7e6);
        assertEq(module.channelSettled(account, multi, payee), 3e6);
        assertEq(module.channelSettled(account, multi, otherPayee), 4e6);
    }

    function test_settle_paysOnePayeeTwiceInOneCallOnlyWhatIsNew() public {
        bytes memory claims = bytes.concat(
            pack(claimOf(multiId, payee, 3e6)), pack(claimOf(multiId, payee, 5e6)), pack(claimOf(multiId, payee, 5e6))
        );
        assertEq(module.settle(account, multi, claims), 5e6);
        assertEq(usdc.balanceOf(payee), 5e6);
    }

    function test_settle_paysInTheFirstAndTheLastSecond() public {
        Terms memory later = singleTerms();
        (later.validAfter, later.validUntil) = (START + 100, START + 200);
        (bytes32 laterId, bytes memory packed) = grant(later);
        vm.warp(START + 100);
        assertEq(module.settle(account, packed, pack(claimOf(laterId, 1e6))), 1e6);
        vm.warp(START + 200);
        assertEq(module.settle(account, packed, pack(claimOf(laterId, 2e6))), 1e6);
    }

    function test_settle_countsPeriodsFromValidAfter() public {
        Terms memory periodic = singleTerms();
        (periodic.periodLimit, periodic.period) = (10e6, 3600);
        (bytes32 id, bytes memory packed) = grant(periodic);
        assertEq(module.settle(account, packed, pack(claimOf(id, 10e6))), 10e6);
        vm.warp(START + 3599);
        assertEq(module.settle(account, packed, pack(claimOf(id, 11e6))), 0);
        vm.warp(START + 3600);
        assertEq(module.settle(account, packed, pack(claimOf(id, 20e6))), 10e6);
        (, uint96 settled, uint32 periodIndex, uint96 periodSettled) = module.grantState(account, id);
        assertEq(settled, 20e6);
        assertEq(periodIndex, 1);
        assertEq(periodSettled, 10e6);
    }

    function test_settle_paysATokenThatReturnsNothing() public {
        SilentToken silent = new SilentToken();
        silent.mint(account, 5e6);
        Terms memory silentTerms = singleTerms();
        silentTerms.token = address(silent);
        (bytes32 id, bytes memory packed) = grant(silentTerms);
        assertEq(module.settle(account, packed, pack(claimOf(id, 5e6))), 5e6);
        assertEq(silent.balanceOf(payee), 5e6);
    }

    function test_settle_paysNothingForAReplay() public {
        bytes memory claims = pack(claimOf(grantId, 3e6));
        module.settle(account, terms, claims);
        assertEq(module.settle(account, terms, claims), 0);
        assertEq(usdc.balanceOf(payee), 3e6);
    }

    function test_settle_paysNothingForTheSameVoucherUnderAnotherGrant() public {
        Terms memory again = singleTerms();
        again.salt = bytes24("again");
        (bytes32 againId, bytes memory packed) = grant(again);
        bytes memory claims = pack(claimOf(grantId, 3e6));
        expectSkipped(againId, payee, ISessionKeyValidator.InvalidSignature.selector);
        assertEq(module.settle(account, packed, claims), 0);
    }

    // ---------------------------------------------------------------------------------------------------- dead grants

    function test_settle_revertsForAGrantThatWasNeverMade() public {
        Terms memory unknown = singleTerms();
        unknown.totalLimit += 1;
        bytes memory packed = pack(unknown);
        bytes memory claims = pack(claimOf(grantId, 1e6));
        expectNotLive(packed, Status.None);
        module.settle(account, packed, claims);
    }

    function test_settle_revertsForAnotherAccountsGrant() public {
        install(stranger);
        bytes memory claims = pack(claimOf(grantId, 1e6));
        bytes32 id = module.grantIdOf(stranger, terms);
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.GrantNotLive.selector, id, Status.None));
        module.settle(stranger, terms, claims);
    }

    function test_settle_revertsForAFrozenGrant() public {
        bytes memory claims = pack(claimOf(grantId, 1e6));
        vm.prank(guardian);
        module.freeze(account, grantId);
        expectNotLive(terms, Status.Frozen);
        module.settle(account, terms, claims);
        vm.prank(account);
        module.unfreeze(grantId);
        assertEq(module.settle(account, terms, claims), 1e6);
    }

    function test_settle_revertsForARevokedGrant() public {
        bytes memory claims = pack(claimOf(grantId, 1e6));
        vm.prank(guardian);
        module.revoke(account, grantId);
        expectNotLive(terms, Status.Revoked);
        module.settle(account, terms, claims);
    }

    function test_settle_revertsForAFrozenAccount() public {
        bytes memory claims = pack(claimOf(grantId, 1e6));
        vm.prank(guardian);
        module.freezeAll(account);
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.AccountIsFrozen.selector, account));
        module.settle(account, terms, claims);
        vm.prank(account);
        module.unfreezeAll();
        assertEq(module.settle(account, terms, claims), 1e6);
    }

    function test_settle_revertsAfterRevokeAll() public {
        bytes memory claims = pack(claimOf(grantId, 1e6));
        vm.prank(guardian);
        module.revokeAll(account);
        expectNotLive(terms, Status.None);
        module.settle(account, terms, claims);
    }

    function test_settle_revertsAfterUninstallAndAfterReinstall() public {
        bytes memory claims = pack(claimOf(grantId, 1e6));
        uninstall(account);
        expectNotLive(terms, Status.None);
        module.settle(account, terms, claims);
        install(account);
        expectNotLive(terms, Status.None);
        module.settle(account, terms, claims);
    }

    function test_settle_paysNoOldVoucherWhenTheSameTermsAreGrantedAgain() public {
        bytes memory claims = pack(claimOf(grantId, 1e6));
        uninstall(account);
        install(account);
        (bytes32 newId, bytes memory packed) = grant(singleTerms());
        assertNotEq(newId, grantId);
        assertEq(packed, terms);
        expectSkipped(newId, payee, ISessionKeyValidator.InvalidSignature.selector);
        assertEq(module.settle(account, packed, claims), 0);
    }

    function test_settle_revertsOutsideTheValidity() public {
        Terms memory later = singleTerms();
        (later.validAfter, later.validUntil) = (START + 100, START + 200);
        (bytes32 id, bytes memory packed) = grant(later);
        bytes memory claims = pack(claimOf(id, 1e6));
        bytes memory expected =
            abi.encodeWithSelector(ISessionKeyValidator.OutsideValidity.selector, id, START + 100, START + 200);
        vm.warp(START + 99);
        vm.expectRevert(expected);
        module.settle(account, packed, claims);
        vm.warp(START + 201);
        vm.expectRevert(expected);
        module.settle(account, packed, claims);
    }

    function test_settle_revertsOnAnotherChain() public {
        bytes memory claims = pack(claimOf(grantId, 1e6));
        vm.chainId(block.chainid + 1);
        expectNotLive(terms, Status.None);
        module.settle(account, terms, claims);
    }

    // ---------------------------------------------------------------------------------------------------- encoding

    function test_settle_revertsOnTermsOfAnotherLength() public {
        bytes memory claims = pack(claimOf(grantId, 1e6));
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.MalformedTerms.selector, 158));
        module.settle(account, bytes.concat(terms, hex"00"), claims);
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.MalformedTerms.selector, 0));
        module.settle(account, "", claims);
    }

    function test_settle_revertsOnClaimsThatAreNotWhole() public {
        bytes memory claim = pack(claimOf(grantId, 1e6));
        expectMalformed(0);
        module.settle(account, terms, "");
        expectMalformed(0);
        module.settle(account, terms, bytes.concat(claim, hex"00"));
        bytes memory other = pack(claimOf(multiId, payee, 1e6));
        expectMalformed(other.length);
        module.settle(account, multi, bytes.concat(other, hex"00"));
        assertEq(usdc.balanceOf(payee), 0);
    }

    function test_settle_revertsOnTwoClaimsOfASinglePayee() public {
        bytes memory claim = pack(claimOf(grantId, 1e6));
        expectMalformed(0);
        module.settle(account, terms, bytes.concat(claim, claim));
    }

    function test_settle_revertsOnAProofOfMoreThan32Elements() public {
        bytes memory claims = pack(claimOf(multiId, payee, 1e6, 1e6, new bytes32[](33)));
        expectMalformed(0);
        module.settle(account, multi, claims);
    }

    function test_settle_paysWithAProofOf32Elements() public {
        bytes32[] memory proof = new bytes32[](32);
        Terms memory deep = singleTerms();
        deep.payeeRoot = leaf(payee);
        for (uint256 i = 0; i < proof.length; i++) {
            proof[i] = keccak256(abi.encode(i));
            deep.payeeRoot = node(deep.payeeRoot, proof[i]);
        }
        (bytes32 id, bytes memory packed) = grant(deep);
        assertEq(module.settle(account, packed, pack(claimOf(id, payee, 1e6, 1e6, proof))), 1e6);
    }

    function expectMalformed(uint256 offset) internal {
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.MalformedClaims.selector, offset));
    }

    function expectNotLive(bytes memory packed, Status status) internal {
        bytes32 id = module.grantIdOf(account, packed);
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.GrantNotLive.selector, id, status));
    }
}
