// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IERC7579Execution} from "@openzeppelin/contracts/interfaces/draft-IERC7579.sol";
import {Test} from "forge-std/Test.sol";
import {ISessionKeyValidator, Status, Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {TestUSDC} from "../mocks/TestUSDC.sol";

/// One module, one account that has it and holds and approved tokens, one session key, and the encoders. These are
/// written again here, from the documented layouts, so that they do not share a mistake with the sources.
abstract contract StreamTest is Test {
    struct Key {
        address addr;
        uint256 secret;
    }

    struct Claim {
        address payee;
        uint96 amount;
        uint128 cumulativeAmount;
        bytes signature;
        bytes32[] proof;
    }

    uint256 internal constant FUNDS = 1_000_000e6;
    uint48 internal constant START = 1_800_000_000;
    uint256 internal constant CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;

    ISessionKeyValidator internal module = ISessionKeyValidator(vm.deployCode("SessionKeyValidator.sol"));
    TestUSDC internal usdc = new TestUSDC();

    address internal account = makeAddr("account");
    address internal guardian = makeAddr("guardian");
    address internal payee = makeAddr("payee");
    address internal otherPayee = makeAddr("otherPayee");
    address internal stranger = makeAddr("stranger");
    Key internal sessionKey = makeKey("sessionKey");
    Key internal settler = makeKey("settler");

    function setUp() public virtual {
        vm.warp(START);
        install(account);
        usdc.mint(account, FUNDS);
        vm.prank(account);
        usdc.approve(address(module), type(uint256).max);
    }

    function install(address who) internal {
        vm.prank(who);
        module.onInstall(abi.encode(guardian));
    }

    function uninstall(address who) internal {
        vm.prank(who);
        module.onUninstall("");
    }

    function makeKey(string memory name) internal returns (Key memory) {
        (address addr, uint256 secret) = makeAddrAndKey(name);
        return Key(addr, secret);
    }

    // ---------------------------------------------------------------------------------------------------- grants

    /// Terms for one payee, a total of 100 USDC, no period, valid for a day from now.
    function singleTerms() internal view returns (Terms memory) {
        return Terms({
            sessionKey: sessionKey.addr,
            settler: settler.addr,
            token: address(usdc),
            totalLimit: 100e6,
            periodLimit: 0,
            period: 0,
            validAfter: uint48(vm.getBlockTimestamp()),
            validUntil: uint48(vm.getBlockTimestamp() + 1 days),
            payeeRoot: leaf(payee),
            source: 0,
            salt: bytes24(0)
        });
    }

    /// The same for two payees.
    function multiTerms() internal view returns (Terms memory terms) {
        terms = singleTerms();
        terms.payeeRoot = node(leaf(payee), leaf(otherPayee));
    }

    function grant(Terms memory terms) internal returns (bytes32 grantId, bytes memory packed) {
        vm.prank(account);
        grantId = module.grant(terms);
        packed = pack(terms);
    }

    function pack(Terms memory terms) internal pure returns (bytes memory) {
        return abi.encodePacked(
            abi.encodePacked(terms.sessionKey, terms.settler, terms.token, terms.totalLimit, terms.periodLimit),
            abi.encodePacked(terms.period, terms.validAfter, terms.validUntil, terms.payeeRoot, terms.source),
            terms.salt
        );
    }

    function leaf(address who) internal pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(who))));
    }

    function node(bytes32 a, bytes32 b) internal pure returns (bytes32) {
        return a < b ? keccak256(abi.encode(a, b)) : keccak256(abi.encode(b, a));
    }

    // ---------------------------------------------------------------------------------------------------- claims

    /// A claim of the whole voucher of a grant to `payee` alone.
    function claimOf(bytes32 grantId, uint96 amount) internal view returns (Claim memory) {
        return claimOf(grantId, payee, amount, amount, new bytes32[](0));
    }

    /// A claim of the whole voucher of a grant to `payee` and `otherPayee`.
    function claimOf(bytes32 grantId, address to, uint96 amount) internal view returns (Claim memory) {
        return claimOf(grantId, to, amount, amount, proofOf(to));
    }

    function claimOf(bytes32 grantId, address to, uint96 amount, uint128 cumulativeAmount, bytes32[] memory proof)
        internal
        view
        returns (Claim memory)
    {
        bytes memory signature = signCompact(sessionKey, module.hashVoucher(grantId, to, cumulativeAmount));
        return Claim(to, amount, cumulativeAmount, signature, proof);
    }

    function proofOf(address to) internal view returns (bytes32[] memory proof) {
        proof = new bytes32[](1);
        proof[0] = leaf(to == payee ? otherPayee : payee);
    }

    function pack(Claim memory claim) internal pure returns (bytes memory) {
        return abi.encodePacked(
            claim.payee,
            claim.amount,
            claim.cumulativeAmount,
            claim.signature,
            uint8(claim.proof.length),
            abi.encodePacked(claim.proof)
        );
    }

    // ---------------------------------------------------------------------------------------------------- signatures

    function sign(Key memory key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key.secret, digest);
        return abi.encodePacked(r, s, v);
    }

    /// EIP-2098.
    function signCompact(Key memory key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key.secret, digest);
        return abi.encodePacked(r, bytes32(uint256(s) | (uint256(v - 27) << 255)));
    }

    /// The other signature of the same key and digest, which `ecrecover` accepts and nobody should.
    function signHighS(Key memory key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key.secret, digest);
        return abi.encodePacked(r, bytes32(CURVE_ORDER - uint256(s)), v == 27 ? uint8(28) : uint8(27));
    }

    // ---------------------------------------------------------------------------------------------------- operations

    function executionOf(address target, uint256 value, bytes memory data) internal pure returns (bytes memory) {
        return abi.encodeCall(IERC7579Execution.execute, (bytes32(0), abi.encodePacked(target, value, data)));
    }

    /// The call data of a settling UserOperation.
    function settleOperation(address who, bytes memory terms, bytes memory claims)
        internal
        view
        returns (bytes memory)
    {
        return executionOf(address(module), 0, abi.encodeCall(ISessionKeyValidator.settle, (who, terms, claims)));
    }

    // ---------------------------------------------------------------------------------------------------- expectations

    function expectSkipped(bytes32 grantId, address to, bytes4 reason) internal {
        vm.expectEmit(address(module));
        emit ISessionKeyValidator.ClaimSkipped(account, grantId, to, reason);
    }

    function expectSettled(bytes32 grantId, address to, uint256 paid, uint256 settled) internal {
        vm.expectEmit(address(module));
        emit ISessionKeyValidator.Settled(account, grantId, to, paid, settled);
    }

    function assertStatus(bytes32 grantId, Status expected) internal view {
        (Status status,,,) = module.grantState(account, grantId);
        assertEq(uint8(status), uint8(expected), "status");
    }

    function settledOf(bytes32 grantId) internal view returns (uint256 settled) {
        (, settled,,) = module.grantState(account, grantId);
    }
}
