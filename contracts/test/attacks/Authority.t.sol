// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {PackedUserOperation} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {IERC7579Execution, IERC7579ModuleConfig} from "@openzeppelin/contracts/interfaces/draft-IERC7579.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ISessionKeyValidator, Status, Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {EntryPointTest} from "../utils/EntryPointTest.sol";

/// Attacks by those who have some authority and want more: the guardian, the session key, the settler, a payee. And what
/// it means when two of them are one.
contract AuthorityAttacksTest is EntryPointTest {
    Key internal guardianKey = makeKey("guardian");
    bytes32 internal grantId;
    bytes internal terms;

    function setUp() public override {
        super.setUp();
        Terms memory granted = singleTerms();
        terms = pack(granted);
        grantId = module.grantIdOf(account, terms);
        assertTrue(handle(setUpOperation(granted, 500e6)).success);
    }

    // ---------------------------------------------------------------------------------------------------- guardian

    function test_attack_guardianCannotResumeGrantOrName() public {
        vm.startPrank(guardian);
        module.freeze(account, grantId);
        module.freezeAll(account);
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.GrantNotLive.selector, grantId, Status.None));
        module.unfreeze(grantId);
        bytes memory notInstalled = abi.encodeWithSelector(ISessionKeyValidator.NotInstalled.selector, guardian);
        vm.expectRevert(notInstalled);
        module.unfreezeAll();
        Terms memory own = singleTerms();
        own.salt = bytes24("guardian's");
        vm.expectRevert(notInstalled);
        module.grant(own);
        vm.expectRevert(notInstalled);
        module.setGuardian(stranger);
        // With the module installed it does all this to itself.
        module.onInstall("");
        module.unfreezeAll();
        bytes32 ownId = module.grant(own);
        module.onUninstall("");
        vm.stopPrank();
        assertNotEq(ownId, module.grantIdOf(account, pack(own)));
        assertStatus(grantId, Status.Frozen);
        assertStatus(module.grantIdOf(account, pack(own)), Status.None);
        (address guardian_, uint64 epoch, bool installed, bool frozen) = module.accountState(account);
        assertEq(guardian_, guardian);
        assertEq(epoch, 0);
        assertTrue(installed && frozen);
    }

    function test_attack_guardianCannotMoveMoney() public {
        // Its vouchers, and its operations as owner or as module, are nobody's.
        Claim memory claim = claimOf(grantId, 3e6);
        claim.signature = signCompact(guardianKey, module.hashVoucher(grantId, payee, 3e6));
        expectSkipped(grantId, payee, ISessionKeyValidator.InvalidSignature.selector);
        vm.prank(guardian);
        module.settle(account, terms, pack(claim));

        bytes[4] memory calls = [
            executionOf(address(usdc), 0, abi.encodeCall(IERC20.transfer, (guardian, 1))),
            executionOf(address(module), 0, abi.encodeCall(ISessionKeyValidator.unfreezeAll, ())),
            executionOf(account, 0, abi.encodeCall(IERC7579ModuleConfig.uninstallModule, (1, address(module), ""))),
            settleOperation(account, terms, pack(claimOf(grantId, 3e6)))
        ];
        for (uint256 i = 0; i < calls.length; i++) {
            refuseInEveryLane(calls[i], guardianKey);
        }
        assertEq(usdc.balanceOf(account), FUNDS);
    }

    function test_attack_guardianThatRevokesEverythingForeverLeavesTheOwnerInCharge() public {
        vm.startPrank(guardian);
        for (uint256 i = 0; i < 10; i++) {
            module.revokeAll(account);
        }
        vm.stopPrank();
        assertTrue(
            handle(ownerOperation(address(module), abi.encodeCall(ISessionKeyValidator.setGuardian, (address(0)))))
            .success
        );
        (bytes32 id, bytes memory packed) = grant(singleTerms());
        assertEq(module.settle(account, packed, pack(claimOf(id, 1e6))), 1e6);
    }

    // ---------------------------------------------------------------------------------------------------- the others

    function test_attack_sessionKeySettlerAndPayeeCannotDoAnythingButSettle() public {
        Key[3] memory keys = [sessionKey, settler, makeKey("payee")];
        Terms memory more = singleTerms();
        (more.totalLimit, more.salt) = (type(uint96).max, bytes24("more"));
        bytes[7] memory calls = [
            executionOf(address(usdc), 0, abi.encodeCall(IERC20.transfer, (stranger, 1))),
            executionOf(address(usdc), 0, abi.encodeCall(IERC20.approve, (stranger, 1))),
            executionOf(address(module), 0, abi.encodeCall(ISessionKeyValidator.grant, (more))),
            executionOf(address(module), 0, abi.encodeCall(ISessionKeyValidator.setGuardian, (address(0)))),
            executionOf(account, 0, abi.encodeCall(IERC7579ModuleConfig.installModule, (2, stranger, ""))),
            abi.encodeCall(IERC7579ModuleConfig.installModule, (2, stranger, "")),
            executionOf(stranger, 1, "")
        ];
        for (uint256 i = 0; i < keys.length; i++) {
            for (uint256 j = 0; j < calls.length; j++) {
                refuseInEveryLane(calls[j], keys[i]);
            }
            vm.startPrank(keys[i].addr);
            vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.NotInstalled.selector, keys[i].addr));
            module.grant(more);
            vm.expectRevert();
            IERC7579Execution(account).execute(0, abi.encodePacked(usdc, uint256(0), calls[0]));
            vm.stopPrank();
        }
    }

    // ---------------------------------------------------------------------------------------------------- two in one

    function test_attack_sessionKeyThatIsAccountModuleReserveTokenGuardianOrNobodyIsRefused() public {
        address[6] memory keys =
            [address(0), account, address(module), address(module.reserve()), address(usdc), guardian];
        for (uint256 i = 0; i < keys.length; i++) {
            Terms memory odd = singleTerms();
            odd.sessionKey = keys[i];
            vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.InvalidSessionKey.selector, keys[i]));
            vm.prank(account);
            module.grant(odd);
        }
    }

    /// The module cannot know who owns an account. An owner who grants to their own key keeps two roles apart by the nonce
    /// that both sign: what they signed as session key is no owner's signature, and vouchers are no operations.
    function test_attack_sessionKeyThatIsTheOwnerSignsAsOneOfThem() public {
        Terms memory own = singleTerms();
        own.sessionKey = owner.addr;
        (bytes32 id, bytes memory packed) = grant(own);
        sessionKey = owner;
        PackedUserOperation memory op = settlement(packed, pack(claimOf(id, 3e6)), 0, owner);
        bytes memory signature = op.signature;
        op.nonce = nonceOf(address(0), 0);
        op.signature = signature;
        expectRefused(op, "AA24 signature error");
        op.nonce = nonceOf(address(module), 0);
        assertTrue(handle(op).success);
        assertEq(usdc.balanceOf(payee), 3e6);
        // In the module's lane the owner, too, can only settle.
        bytes memory transfer = executionOf(address(usdc), 0, abi.encodeCall(IERC20.transfer, (stranger, 1)));
        expectRefused(signed(operation(transfer, nonceOf(address(module), 0)), owner), "AA24 signature error");
        // And the owner's operation is no voucher.
        Claim memory claim = claimOf(id, 9e6);
        claim.signature = signCompact(owner, hashOf(op));
        expectSkipped(id, payee, ISessionKeyValidator.InvalidSignature.selector);
        module.settle(account, packed, pack(claim));
    }

    /// Somebody who may sign for their own payment takes what the grant allows, when they like, and no more.
    function test_attack_sessionKeyThatIsThePayeeTakesTheLimitAndNoMore() public {
        Terms memory own = singleTerms();
        own.payeeRoot = leaf(sessionKey.addr);
        (bytes32 id, bytes memory packed) = grant(own);
        vm.startPrank(sessionKey.addr);
        bytes32[] memory none = new bytes32[](0);
        uint256 paid = module.settle(account, packed, pack(claimOf(id, sessionKey.addr, 100e6, 100e6, none)));
        module.settle(account, packed, pack(claimOf(id, sessionKey.addr, 100e6 + 1, type(uint128).max, none)));
        vm.stopPrank();
        assertEq(paid, 100e6);
        assertEq(usdc.balanceOf(sessionKey.addr), 100e6);
    }

    /// A guardian that is named later, and has a grant of its own, can still only lower what it may do.
    function test_attack_sessionKeyThatBecomesGuardianCanOnlyStop() public {
        vm.prank(account);
        module.setGuardian(sessionKey.addr);
        vm.startPrank(sessionKey.addr);
        module.freezeAll(account);
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.NotInstalled.selector, sessionKey.addr));
        module.unfreezeAll();
        vm.stopPrank();
        bytes memory claims = pack(claimOf(grantId, 1e6));
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.AccountIsFrozen.selector, account));
        module.settle(account, terms, claims);
        expectRefused(settlement(terms, claims, 0, sessionKey), "AA24 signature error");
    }

    /// A payee that is the account gets its own money; one that is the module or the reserve loses it for all. The budget
    /// is used up by either, as it is by every payment.
    function test_attack_payeeThatIsTheAccountOrTheModuleGainsNothing() public {
        settleTo(account, 0);
        settleTo(address(module), 100e6);
        settleTo(address(module.reserve()), 100e6);
        // No pool is credited by it.
        (uint96 pool,,) = module.reserve().poolOf(account, address(usdc));
        assertEq(pool, 0);
    }

    // ---------------------------------------------------------------------------------------------------- helpers

    /// Settles the whole limit of a new grant to `to` alone, which then has so much more.
    function settleTo(address to, uint256 more) internal {
        Terms memory odd = singleTerms();
        odd.payeeRoot = leaf(to);
        (bytes32 id, bytes memory packed) = grant(odd);
        bytes32[] memory none = new bytes32[](0);
        uint256 before = usdc.balanceOf(to);
        assertEq(module.settle(account, packed, pack(claimOf(id, to, 100e6, 100e6, none))), 100e6);
        assertEq(usdc.balanceOf(to), before + more);
        assertEq(module.settle(account, packed, pack(claimOf(id, to, 101e6, 101e6, none))), 0);
    }

    function refuseInEveryLane(bytes memory callData, Key memory key) internal {
        address[2] memory lanes = [address(0), address(module)];
        for (uint256 i = 0; i < lanes.length; i++) {
            expectRefused(signed(operation(callData, nonceOf(lanes[i], 0)), key), "AA24 signature error");
        }
    }
}
