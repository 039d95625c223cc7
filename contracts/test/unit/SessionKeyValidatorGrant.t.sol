// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IERC5267} from "@openzeppelin/contracts/interfaces/IERC5267.sol";
import {ISessionKeyValidator, Status, Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {StreamTest} from "../utils/StreamTest.sol";

/// Making grants, and what their ids and vouchers hash to.
contract SessionKeyValidatorGrantTest is StreamTest {
    function test_grant_storesAnActiveGrantAndEmitsItsTerms() public {
        Terms memory terms = singleTerms();
        bytes memory packed = pack(terms);
        bytes32 id = module.grantIdOf(account, packed);
        vm.expectEmit(address(module));
        emit ISessionKeyValidator.GrantCreated(account, id, sessionKey.addr, 0, packed);
        vm.prank(account);
        assertEq(module.grant(terms), id);
        (Status status, uint96 settled, uint32 periodIndex, uint96 periodSettled) = module.grantState(account, id);
        assertEq(uint8(status), uint8(Status.Active));
        assertEq(settled, 0);
        assertEq(periodIndex, 0);
        assertEq(periodSettled, 0);
    }

    function test_grant_revertsWithoutTheModuleInstalled() public {
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.NotInstalled.selector, stranger));
        vm.prank(stranger);
        module.grant(singleTerms());
    }

    function test_grant_revertsForASessionKeyThatCannotBeOne() public {
        address[5] memory keys = [address(0), account, address(module), address(usdc), guardian];
        for (uint256 i = 0; i < keys.length; i++) {
            Terms memory terms = singleTerms();
            terms.sessionKey = keys[i];
            expectRefused(terms, abi.encodeWithSelector(ISessionKeyValidator.InvalidSessionKey.selector, keys[i]));
        }
    }

    function test_grant_revertsWithoutASettler() public {
        Terms memory terms = singleTerms();
        terms.settler = address(0);
        expectRefused(terms, abi.encodeWithSelector(ISessionKeyValidator.InvalidSettler.selector, address(0)));
    }

    function test_grant_revertsWithoutAToken() public {
        Terms memory terms = singleTerms();
        terms.token = address(0);
        expectRefused(terms, abi.encodeWithSelector(ISessionKeyValidator.InvalidToken.selector, address(0)));
    }

    function test_grant_revertsWithoutATotalLimit() public {
        Terms memory terms = singleTerms();
        terms.totalLimit = 0;
        expectRefused(terms, abi.encodeWithSelector(ISessionKeyValidator.InvalidTotalLimit.selector, 0));
    }

    function test_grant_revertsForAPeriodWithoutItsLimitAndTheOtherWayRound() public {
        Terms memory terms = singleTerms();
        terms.period = 60;
        expectRefused(terms, abi.encodeWithSelector(ISessionKeyValidator.InvalidPeriod.selector, 0, 60));
        (terms.period, terms.periodLimit) = (0, 5);
        expectRefused(terms, abi.encodeWithSelector(ISessionKeyValidator.InvalidPeriod.selector, 5, 0));
    }

    function test_grant_revertsForAnEmptyOrPastOrTooLongValidity() public {
        uint48[2][3] memory windows = [[START + 20, START + 10], [START - 10, START], [START, uint48(2 ** 47)]];
        for (uint256 i = 0; i < windows.length; i++) {
            Terms memory terms = singleTerms();
            (terms.validAfter, terms.validUntil) = (windows[i][0], windows[i][1]);
            expectRefused(
                terms,
                abi.encodeWithSelector(ISessionKeyValidator.InvalidValidity.selector, windows[i][0], windows[i][1])
            );
        }
    }

    function test_grant_acceptsTheShortestAndTheLongestValidity() public {
        Terms memory terms = singleTerms();
        (terms.validAfter, terms.validUntil) = (START + 1, START + 1);
        grant(terms);
        (terms.validAfter, terms.validUntil) = (0, 2 ** 47 - 1);
        grant(terms);
    }

    function test_grant_revertsWithoutPayees() public {
        Terms memory terms = singleTerms();
        terms.payeeRoot = 0;
        expectRefused(terms, abi.encodeWithSelector(ISessionKeyValidator.InvalidPayeeRoot.selector, bytes32(0)));
    }

    function test_grant_revertsForAnotherSourceThanAllowanceOrReserve() public {
        Terms memory terms = singleTerms();
        terms.source = 2;
        expectRefused(terms, abi.encodeWithSelector(ISessionKeyValidator.UnsupportedSource.selector, 2));
    }

    function test_grant_revertsForTheSameTermsInWhateverStatus() public {
        (bytes32 id,) = grant(singleTerms());
        bytes memory refusal = abi.encodeWithSelector(ISessionKeyValidator.GrantExists.selector, id);
        expectRefused(singleTerms(), refusal);
        vm.prank(account);
        module.freeze(account, id);
        expectRefused(singleTerms(), refusal);
        vm.prank(account);
        module.revoke(account, id);
        expectRefused(singleTerms(), refusal);
    }

    function test_grant_worksForAFrozenAccountButPaysNothing() public {
        vm.prank(account);
        module.freezeAll(account);
        (bytes32 id, bytes memory packed) = grant(singleTerms());
        bytes memory claims = pack(claimOf(id, 1e6));
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.AccountIsFrozen.selector, account));
        module.settle(account, packed, claims);
    }

    // ---------------------------------------------------------------------------------------------------- encodings

    function testFuzz_packTerms_isTheConcatenationOfTheFields(Terms memory terms) public view {
        bytes memory packed = module.packTerms(terms);
        assertEq(packed.length, 157);
        assertEq(packed, pack(terms));
    }

    function testFuzz_grantIdOf_bindsChainModuleAccountEpochAndTerms(
        address who,
        uint64 chainId,
        uint8 epochs,
        Terms memory terms
    ) public {
        vm.assume(chainId > 0 && who != guardian && who != account);
        vm.chainId(chainId);
        uint64 epoch = epochs % 4;
        for (uint64 i = 0; i < epoch; i++) {
            install(who);
            uninstall(who);
        }
        bytes memory packed = pack(terms);
        bytes32 expected = keccak256(abi.encode(uint256(chainId), address(module), who, epoch, keccak256(packed)));
        assertEq(module.grantIdOf(who, packed), expected);
    }

    function test_grantIdOf_revertsOnTermsOfAnotherLength() public {
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.MalformedTerms.selector, 156));
        module.grantIdOf(account, new bytes(156));
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.MalformedTerms.selector, 158));
        module.channelSettled(account, new bytes(158), payee);
    }

    function testFuzz_hashVoucher_isTheEip712Digest(bytes32 id, address to, uint128 amount) public view {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Protocol Banks Session"),
                keccak256("1"),
                block.chainid,
                address(module)
            )
        );
        bytes32 voucher = keccak256(
            abi.encode(keccak256("Voucher(bytes32 grantId,address payee,uint128 cumulativeAmount)"), id, to, amount)
        );
        assertEq(module.hashVoucher(id, to, amount), keccak256(abi.encodePacked(hex"1901", domain, voucher)));
    }

    function test_eip712Domain_namesTheModule() public view {
        (, string memory name, string memory version, uint256 chainId, address verifier,,) =
            IERC5267(address(module)).eip712Domain();
        assertEq(name, "Protocol Banks Session");
        assertEq(version, "1");
        assertEq(chainId, block.chainid);
        assertEq(verifier, address(module));
    }

    function test_channelSettled_isZeroForAStrangerOfASinglePayeeGrant() public {
        (bytes32 id, bytes memory packed) = grant(singleTerms());
        module.settle(account, packed, pack(claimOf(id, 1e6)));
        assertEq(module.channelSettled(account, packed, payee), 1e6);
        assertEq(module.channelSettled(account, packed, stranger), 0);
    }

    function expectRefused(Terms memory terms, bytes memory refusal) internal {
        vm.expectRevert(refusal);
        vm.prank(account);
        module.grant(terms);
    }
}
