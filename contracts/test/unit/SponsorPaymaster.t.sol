// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Paymaster} from "@openzeppelin/contracts/account/paymaster/Paymaster.sol";
import {PackedUserOperation} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {SponsorPaymaster} from "../../src/SponsorPaymaster.sol";
import {EntryPointTest} from "../utils/EntryPointTest.sol";

interface IDepositInfo {
    struct DepositInfo {
        uint256 deposit;
        bool staked;
        uint112 stake;
        uint32 unstakeDelaySec;
        uint48 withdrawTime;
    }

    function getDepositInfo(address account) external view returns (DepositInfo memory);
}

/// Whose signature sponsors, and who gets at the money. Its owner is this test.
contract SponsorPaymasterTest is EntryPointTest {
    SponsorPaymaster internal sponsoring;
    address payable internal treasury = payable(makeAddr("treasury"));

    function setUp() public override {
        super.setUp();
        sponsoring = SponsorPaymaster(paymaster);
    }

    // ---------------------------------------------------------------------------------------------------- validation

    function test_validatePaymasterUserOp_returnsTheWindowForTheSignersSignature() public {
        PackedUserOperation memory op = sponsored(START + 60, START - 60, sponsor);
        (bytes memory context, uint256 validationData) = validate(op);
        assertEq(context.length, 0);
        assertEq(validationData, (uint256(START - 60) << 208) | (uint256(START + 60) << 160));
    }

    function test_validatePaymasterUserOp_failsWithoutRevertingForAnotherSignature() public {
        uint256 failed = (uint256(START - 60) << 208) | (uint256(START + 60) << 160) | 1;
        (, uint256 validationData) = validate(sponsored(START + 60, START - 60, makeKey("somebody")));
        assertEq(validationData, failed);
        // What gas is estimated with.
        PackedUserOperation memory op = operation("", 0);
        op.paymasterAndData = abi.encodePacked(op.paymasterAndData, START + 60, START - 60, new bytes(64));
        (, validationData) = validate(op);
        assertEq(validationData, failed);
    }

    function test_validatePaymasterUserOp_revertsOnDataOfAnotherLength() public {
        PackedUserOperation memory op = sponsored(START + 60, START - 60, sponsor);
        bytes memory whole = op.paymasterAndData;
        op.paymasterAndData = bytes.concat(whole, hex"00");
        vm.expectRevert(abi.encodeWithSelector(SponsorPaymaster.MalformedPaymasterAndData.selector, 129));
        validate(op);
        op.paymasterAndData = abi.encodePacked(paymaster, new bytes(32));
        vm.expectRevert(abi.encodeWithSelector(SponsorPaymaster.MalformedPaymasterAndData.selector, 52));
        validate(op);
    }

    function test_validatePaymasterUserOp_isForTheEntryPointOnly() public {
        PackedUserOperation memory op = sponsored(START + 60, START - 60, sponsor);
        vm.expectRevert(abi.encodeWithSelector(Paymaster.PaymasterUnauthorized.selector, stranger));
        vm.prank(stranger);
        sponsoring.validatePaymasterUserOp(op, 0, 0);
    }

    function testFuzz_validatePaymasterUserOp_bindsEveryField(uint256 seed, uint256 field) public {
        vm.assume(seed != 0);
        PackedUserOperation memory op = sponsored(START + 60, START - 60, sponsor);
        field = bound(field, 0, 8);
        if (field == 0) op.sender = address(uint160(op.sender) ^ uint160(bound(seed, 1, type(uint160).max)));
        if (field == 1) op.nonce ^= seed;
        if (field == 2) op.initCode = abi.encode(seed);
        if (field == 3) op.callData = abi.encode(seed);
        if (field == 4) op.accountGasLimits ^= bytes32(seed);
        if (field == 5) op.preVerificationGas ^= seed;
        if (field == 6) op.gasFees ^= bytes32(seed);
        if (field == 7) op.paymasterAndData[20 + seed % 32] ^= 0x01;
        if (field == 8) op.paymasterAndData[52 + seed % 12] ^= 0x01;
        (, uint256 validationData) = validate(op);
        assertEq(uint160(validationData), 1);
    }

    function testFuzz_hashSponsoredUserOperation_isTheEip712Digest(
        address sender,
        uint256 nonce,
        bytes memory initCode,
        bytes memory callData,
        uint48 validUntil,
        uint48 validAfter
    ) public view {
        PackedUserOperation memory op = operation(callData, nonce);
        (op.sender, op.initCode) = (sender, initCode);
        assertEq(
            sponsoring.hashSponsoredUserOperation(op, validUntil, validAfter), sponsoredHash(op, validUntil, validAfter)
        );
    }

    // ---------------------------------------------------------------------------------------------------- signer

    function test_setSigner_endsTheFormerSignersApprovals() public {
        Key memory successor = makeKey("successor");
        PackedUserOperation memory op = sponsored(START + 60, START - 60, sponsor);
        vm.expectEmit(paymaster);
        emit SponsorPaymaster.SignerChanged(sponsor.addr, successor.addr);
        sponsoring.setSigner(successor.addr);
        assertEq(sponsoring.signer(), successor.addr);
        (, uint256 validationData) = validate(op);
        assertEq(uint160(validationData), 1);
        (, validationData) = validate(sponsored(START + 60, START - 60, successor));
        assertEq(uint160(validationData), 0);
    }

    function test_setSigner_revertsForNobody() public {
        vm.expectRevert(abi.encodeWithSelector(SponsorPaymaster.InvalidSigner.selector, address(0)));
        sponsoring.setSigner(address(0));
        vm.expectRevert(abi.encodeWithSelector(SponsorPaymaster.InvalidSigner.selector, address(0)));
        new SponsorPaymaster(entryPoint, address(this), address(0));
    }

    // ---------------------------------------------------------------------------------------------------- money

    function test_deposit_isOpenToAll() public {
        vm.deal(stranger, 1 ether);
        vm.prank(stranger);
        sponsoring.deposit{value: 1 ether}();
        assertEq(entryPoint.balanceOf(paymaster), 11 ether);
    }

    function test_withdrawTo_givesTheOwnerTheDeposit() public {
        sponsoring.withdrawTo(treasury, 4 ether);
        assertEq(treasury.balance, 4 ether);
        assertEq(entryPoint.balanceOf(paymaster), 6 ether);
    }

    function test_stake_isAddedUnlockedAndWithdrawnByTheOwner() public {
        vm.deal(address(this), 2 ether);
        sponsoring.addStake{value: 2 ether}(1 days);
        IDepositInfo.DepositInfo memory info = IDepositInfo(address(entryPoint)).getDepositInfo(paymaster);
        assertTrue(info.staked);
        assertEq(info.stake, 2 ether);
        assertEq(info.unstakeDelaySec, 1 days);
        sponsoring.unlockStake();
        vm.warp(START + 1 days);
        sponsoring.withdrawStake(treasury);
        assertEq(treasury.balance, 2 ether);
    }

    function test_owner_isTheOnlyOneWhoMay() public {
        bytes memory refusal = abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, stranger);
        vm.startPrank(stranger);
        vm.expectRevert(refusal);
        sponsoring.setSigner(stranger);
        vm.expectRevert(refusal);
        sponsoring.withdrawTo(payable(stranger), 1);
        vm.expectRevert(refusal);
        sponsoring.addStake(1);
        vm.expectRevert(refusal);
        sponsoring.unlockStake();
        vm.expectRevert(refusal);
        sponsoring.withdrawStake(payable(stranger));
        vm.expectRevert(refusal);
        sponsoring.transferOwnership(stranger);
        vm.stopPrank();
    }

    function test_owner_changesOnlyWhenTheNewOneAccepts() public {
        sponsoring.transferOwnership(treasury);
        assertEq(sponsoring.owner(), address(this));
        vm.prank(treasury);
        sponsoring.acceptOwnership();
        assertEq(sponsoring.owner(), treasury);
    }

    function test_entryPoint_isTheOneOfTheDeployment() public view {
        assertEq(address(sponsoring.entryPoint()), address(entryPoint));
    }

    function sponsored(uint48 validUntil, uint48 validAfter, Key memory by)
        internal
        view
        returns (PackedUserOperation memory)
    {
        return signed(operation(hex"c0ffee", 7), owner, validUntil, validAfter, by);
    }

    function validate(PackedUserOperation memory op) internal returns (bytes memory, uint256) {
        vm.prank(address(entryPoint));
        return sponsoring.validatePaymasterUserOp(op, 0, 0);
    }
}
