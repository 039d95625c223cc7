// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {ERC4337Utils, IEntryPointExtra} from "@openzeppelin/contracts/account/utils/ERC4337Utils.sol";
import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {PackedUserOperation} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {IERC7579ModuleConfig} from "@openzeppelin/contracts/interfaces/draft-IERC7579.sol";
import {ISessionKeyValidator, Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {EntryPointV07Test} from "../utils/EntryPointV07Test.sol";

/// Signatures that are good somewhere else: another chain, module, EntryPoint, account or form. Runs with both EntryPoints
/// deployed; `entryPoint` is v0.7, and `account` is there.
contract SignatureAttacksTest is EntryPointV07Test {
    bytes32 internal grantId;
    bytes internal terms;

    function setUp() public override {
        super.setUp();
        Terms memory granted = singleTerms();
        terms = pack(granted);
        grantId = module.grantIdOf(account, terms);
        assertTrue(handle(setUpOperation(granted, 50e6)).success);
    }

    // ---------------------------------------------------------------------------------------------------- operations

    function test_attack_operationSignedForAnotherEntryPointIsRefused() public {
        PackedUserOperation memory op = settlement(terms, pack(claimOf(grantId, 3e6)), 0, settler);
        op.signature = sign(settler, IEntryPointExtra(address(ERC4337Utils.ENTRYPOINT_V08)).getUserOpHash(op));
        expectRefused(op, "AA24 signature error");
        op.signature = sign(settler, hashOf(op));
        assertTrue(handle(op).success);
    }

    function test_attack_operationSignedForAnotherChainIsRefused() public {
        PackedUserOperation memory op = settlement(terms, pack(claimOf(grantId, 3e6)), 0, settler);
        bytes memory elsewhere = op.signature;
        vm.chainId(block.chainid + 1);
        // The same terms granted on both chains: but for the chain, everything is alike.
        (bytes32 id, bytes memory packed) = grant(singleTerms());
        assertEq(packed, terms);
        op = settlement(packed, pack(claimOf(id, 3e6)), 0, settler);
        bytes memory here = op.signature;
        op.signature = elsewhere;
        expectRefused(op, "AA24 signature error");
        op.signature = here;
        assertTrue(handle(op).success);
    }

    function test_attack_operationOfAnotherModulesLaneIsRefused() public {
        ISessionKeyValidator other = otherModule();
        bytes32 otherId = other.grantIdOf(account, terms);
        bytes memory claims = pack(claimOf(otherId, 3e6));
        // The other module's settlement in our lane, and ours in its lane.
        bytes memory theirs = executionOf(address(other), 0, abi.encodeCall(other.settle, (account, terms, claims)));
        PackedUserOperation memory op = signed(operation(theirs, nonceOf(address(module), 0)), settler);
        expectRefused(op, "AA24 signature error");
        bytes memory ours = settleOperation(account, terms, pack(claimOf(grantId, 3e6)));
        op = signed(operation(ours, nonceOf(address(other), 0)), settler);
        expectRefused(op, "AA24 signature error");
        // Changing the lane of a signed operation changes what was signed.
        op = signed(operation(ours, nonceOf(address(module), 0)), settler);
        op.nonce = nonceOf(address(module), 1);
        expectRefused(op, "AA24 signature error");
        op = settlement(terms, pack(claimOf(grantId, 3e6)), 1, settler);
        bytes memory signature = op.signature;
        op = settlement(terms, pack(claimOf(grantId, 3e6)), 2, settler);
        op.signature = signature;
        expectRefused(op, "AA24 signature error");
    }

    function test_attack_operationWithASignatureOfAnotherFormIsRefused() public {
        PackedUserOperation memory op = settlement(terms, pack(claimOf(grantId, 3e6)), 0, settler);
        bytes32 hash = hashOf(op);
        bytes[8] memory signatures = [
            sign(makeKey("somebody"), hash),
            sign(owner, hash),
            signCompact(settler, hash), // 64 bytes
            signHighS(settler, hash),
            new bytes(65), // recovers nobody, which is no settler
            bytes.concat(new bytes(64), hex"1b"),
            bytes.concat(sign(settler, hash), hex"00"),
            abi.encodePacked(module, sign(settler, hash)) // as an ERC-1271 signature would name it
        ];
        for (uint256 i = 0; i < signatures.length; i++) {
            op.signature = signatures[i];
            expectRefused(op, "AA24 signature error");
        }
        bytes memory good = sign(settler, hash);
        for (uint8 v = 0; v < 31; v++) {
            if (v == uint8(good[64])) continue;
            op.signature = bytes.concat(good);
            op.signature[64] = bytes1(v);
            expectRefused(op, "AA24 signature error");
        }
        op.signature = good;
        assertTrue(handle(op).success);
    }

    // ---------------------------------------------------------------------------------------------------- vouchers

    function test_attack_voucherSignedInAnotherDomainPaysNothing() public {
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256("Voucher(bytes32 grantId,address payee,uint128 cumulativeAmount)"),
                grantId,
                payee,
                uint256(3e6)
            )
        );
        bytes32 right = domain("Protocol Banks Session", "1", block.chainid, address(module));
        bytes32[6] memory domains = [
            domain("Protocol Banks Session", "1", block.chainid + 1, address(module)),
            domain("Protocol Banks Session", "1", block.chainid, address(otherModule())),
            domain("Protocol Banks Session", "2", block.chainid, address(module)),
            domain("Protocol Banks Sponsor", "1", block.chainid, address(module)),
            usdc.DOMAIN_SEPARATOR(),
            bytes32(0)
        ];
        Claim memory claim = claimOf(grantId, 3e6);
        for (uint256 i = 0; i < domains.length; i++) {
            claim.signature = signCompact(sessionKey, keccak256(abi.encodePacked(hex"1901", domains[i], structHash)));
            expectUnsigned(claim);
        }
        // Nor a voucher signed as a message, or bare.
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", right, structHash));
        claim.signature =
            signCompact(sessionKey, keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", digest)));
        expectUnsigned(claim);
        claim.signature = signCompact(sessionKey, structHash);
        expectUnsigned(claim);
        claim.signature = signCompact(sessionKey, digest);
        assertEq(module.settle(account, terms, pack(claim)), 3e6);
    }

    function test_attack_voucherOfAnotherAccountGrantOrEpochPaysNothing() public {
        Terms memory again = singleTerms();
        again.salt = bytes24("again");
        bytes32[4] memory ids = [
            module.grantIdOf(account, pack(again)),
            keccak256(abi.encode(block.chainid, module, stranger, uint64(0), keccak256(terms))),
            keccak256(abi.encode(block.chainid, module, account, uint64(1), keccak256(terms))),
            keccak256(abi.encode(block.chainid + 1, module, account, uint64(0), keccak256(terms)))
        ];
        for (uint256 i = 0; i < ids.length; i++) {
            expectUnsigned(claimOf(ids[i], 3e6));
        }
    }

    function test_attack_voucherWithoutASignerOrOfAnotherSignerPaysNothing() public {
        Claim memory claim = claimOf(grantId, 3e6);
        bytes32 digest = module.hashVoucher(grantId, payee, 3e6);
        bytes[7] memory signatures = [
            new bytes(64), // recovers nobody, who is no session key
            bytes.concat(bytes32(type(uint256).max), bytes32(type(uint256).max)),
            bytes.concat(bytes32(uint256(1)), bytes32(0)),
            signCompact(settler, digest),
            signCompact(owner, digest),
            signCompact(makeKey("payee"), digest),
            signCompact(makeKey("guardian"), digest)
        ];
        for (uint256 i = 0; i < signatures.length; i++) {
            claim.signature = signatures[i];
            expectUnsigned(claim);
        }
    }

    function testFuzz_attack_voucherWithAnyOtherSignaturePaysNothing(bytes32 r, bytes32 s) public {
        Claim memory claim = claimOf(grantId, 3e6);
        vm.assume(keccak256(abi.encodePacked(r, s)) != keccak256(claim.signature));
        claim.signature = abi.encodePacked(r, s);
        expectUnsigned(claim);
    }

    // ---------------------------------------------------------------------------------------------------- ERC-1271

    /// Whoever asks, whatever for, whoever signed: the module never says that the account signed.
    function testFuzz_attack_moduleNeverSignsForTheAccount(bytes32 hash, address asks) public {
        Key[3] memory keys = [sessionKey, settler, owner];
        for (uint256 i = 0; i < keys.length; i++) {
            bytes memory signature = sign(keys[i], hash);
            vm.prank(asks);
            assertEq(module.isValidSignatureWithSender(account, hash, signature), bytes4(0xffffffff));
            vm.prank(asks);
            bytes4 answer = IERC1271(account).isValidSignature(hash, abi.encodePacked(module, signature));
            assertEq(answer, bytes4(0xffffffff));
        }
    }

    // ---------------------------------------------------------------------------------------------------- helpers

    /// A second deployment of the module, installed, with the same grant.
    function otherModule() internal returns (ISessionKeyValidator other) {
        other = ISessionKeyValidator(vm.deployCode("SessionKeyValidator.sol"));
        vm.startPrank(account);
        IERC7579ModuleConfig(account).installModule(1, address(other), "");
        other.grant(singleTerms());
        usdc.approve(address(other), 50e6);
        vm.stopPrank();
    }

    function domain(string memory name, string memory version, uint256 chainId, address verifier)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256(bytes(name)),
                keccak256(bytes(version)),
                chainId,
                verifier
            )
        );
    }

    function expectUnsigned(Claim memory claim) internal {
        expectSkipped(grantId, payee, ISessionKeyValidator.InvalidSignature.selector);
        assertEq(module.settle(account, terms, pack(claim)), 0);
        assertEq(settledOf(grantId), 0);
    }
}
