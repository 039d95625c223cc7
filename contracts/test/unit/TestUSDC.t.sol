// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {ERC3009} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";
import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {TestUSDC} from "../mocks/TestUSDC.sol";
import {StreamTest} from "../utils/StreamTest.sol";

/// The test token keeps what it says about being like USDC.
contract TestUSDCTest is StreamTest {
    bytes32 internal constant PERMIT =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
    bytes32 internal constant TRANSFER = keccak256(
        "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    bytes32 internal constant RECEIVE = keccak256(
        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    bytes32 internal constant CANCEL = keccak256("CancelAuthorization(address authorizer,bytes32 nonce)");
    bytes32 internal constant NONCE = bytes32("nonce");

    Key internal holder = makeKey("holder");

    function setUp() public override {
        super.setUp();
        usdc.mint(holder.addr, 10e6);
    }

    function test_domain_isUsdcs() public view {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("USD Coin"),
                keccak256("2"),
                block.chainid,
                address(usdc)
            )
        );
        assertEq(usdc.DOMAIN_SEPARATOR(), domain);
        assertEq(usdc.decimals(), 6);
        assertEq(usdc.symbol(), "USDC");
    }

    // ---------------------------------------------------------------------------------------------------- EIP-2612

    function test_permit_approvesOnceWithEitherFormOfSignature() public {
        bytes32 digest = permitDigest(0);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(holder.secret, digest);
        usdc.permit(holder.addr, stranger, 4e6, START, v, r, s);
        assertEq(usdc.allowance(holder.addr, stranger), 4e6);
        assertEq(usdc.nonces(holder.addr), 1);
        vm.expectRevert(abi.encodeWithSelector(TestUSDC.InvalidPermit.selector, holder.addr));
        usdc.permit(holder.addr, stranger, 4e6, START, v, r, s);
        usdc.permit(holder.addr, stranger, 4e6, START, sign(holder, permitDigest(1)));
        assertEq(usdc.nonces(holder.addr), 2);
    }

    function test_permit_revertsAfterItsDeadline() public {
        bytes memory signature = sign(holder, permitDigest(0));
        vm.warp(START + 1);
        vm.expectRevert(abi.encodeWithSelector(TestUSDC.ExpiredPermit.selector, START));
        usdc.permit(holder.addr, stranger, 4e6, START, signature);
    }

    // ---------------------------------------------------------------------------------------------------- EIP-3009

    function test_transferWithAuthorization_movesOnceWithEitherFormOfSignature() public {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(holder.secret, authorizationDigest(TRANSFER, NONCE));
        usdc.transferWithAuthorization(holder.addr, payee, 4e6, START - 1, START + 1, NONCE, v, r, s);
        assertEq(usdc.balanceOf(payee), 4e6);
        vm.expectRevert(abi.encodeWithSelector(ERC3009.ERC3009UsedAuthorization.selector, holder.addr, NONCE));
        usdc.transferWithAuthorization(holder.addr, payee, 4e6, START - 1, START + 1, NONCE, v, r, s);
        bytes memory signature = sign(holder, authorizationDigest(TRANSFER, "other"));
        usdc.transferWithAuthorization(holder.addr, payee, 4e6, START - 1, START + 1, "other", signature);
        assertEq(usdc.balanceOf(payee), 8e6);
    }

    function test_transferWithAuthorization_revertsOutsideItsWindow() public {
        bytes memory signature = sign(holder, authorizationDigest(TRANSFER, NONCE));
        bytes memory refusal =
            abi.encodeWithSelector(ERC3009.ERC3009InvalidAuthorizationTime.selector, START - 1, START + 1);
        vm.warp(START - 1);
        vm.expectRevert(refusal);
        usdc.transferWithAuthorization(holder.addr, payee, 4e6, START - 1, START + 1, NONCE, signature);
        vm.warp(START + 1);
        vm.expectRevert(refusal);
        usdc.transferWithAuthorization(holder.addr, payee, 4e6, START - 1, START + 1, NONCE, signature);
    }

    function test_transferWithAuthorization_revertsForAnotherSigner() public {
        bytes memory signature = sign(makeKey("somebody"), authorizationDigest(TRANSFER, NONCE));
        vm.expectRevert(ERC3009.ERC3009InvalidSignature.selector);
        usdc.transferWithAuthorization(holder.addr, payee, 4e6, START - 1, START + 1, NONCE, signature);
    }

    function test_receiveWithAuthorization_isForTheReceiverOnly() public {
        bytes memory signature = sign(holder, authorizationDigest(RECEIVE, NONCE));
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InvalidReceiver.selector, payee));
        usdc.receiveWithAuthorization(holder.addr, payee, 4e6, START - 1, START + 1, NONCE, signature);
        vm.prank(payee);
        usdc.receiveWithAuthorization(holder.addr, payee, 4e6, START - 1, START + 1, NONCE, signature);
        assertEq(usdc.balanceOf(payee), 4e6);
    }

    function test_cancelAuthorization_endsIt() public {
        bytes memory cancellation = sign(holder, digestOf(keccak256(abi.encode(CANCEL, holder.addr, NONCE))));
        usdc.cancelAuthorization(holder.addr, NONCE, cancellation);
        assertTrue(usdc.authorizationState(holder.addr, NONCE));
        bytes memory signature = sign(holder, authorizationDigest(TRANSFER, NONCE));
        vm.expectRevert(abi.encodeWithSelector(ERC3009.ERC3009UsedAuthorization.selector, holder.addr, NONCE));
        usdc.transferWithAuthorization(holder.addr, payee, 4e6, START - 1, START + 1, NONCE, signature);
    }

    // ---------------------------------------------------------------------------------------------------- block list

    function test_setBlocked_stopsTransfersFromAndTo() public {
        usdc.setBlocked(holder.addr, true);
        vm.expectRevert(abi.encodeWithSelector(TestUSDC.Blocked.selector, holder.addr));
        vm.prank(holder.addr);
        usdc.transfer(payee, 1);
        vm.expectRevert(abi.encodeWithSelector(TestUSDC.Blocked.selector, holder.addr));
        usdc.mint(holder.addr, 1);
        usdc.setBlocked(holder.addr, false);
        vm.prank(holder.addr);
        usdc.transfer(payee, 1);
        assertEq(usdc.balanceOf(payee), 1);
    }

    function permitDigest(uint256 nonce) internal view returns (bytes32) {
        return digestOf(keccak256(abi.encode(PERMIT, holder.addr, stranger, 4e6, nonce, START)));
    }

    function authorizationDigest(bytes32 typeHash, bytes32 nonce) internal view returns (bytes32) {
        return digestOf(keccak256(abi.encode(typeHash, holder.addr, payee, 4e6, START - 1, START + 1, nonce)));
    }

    function digestOf(bytes32 structHash) internal view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", usdc.DOMAIN_SEPARATOR(), structHash));
    }
}
