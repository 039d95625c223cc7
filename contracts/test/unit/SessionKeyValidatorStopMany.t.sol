// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {ISessionKeyValidator, Status, Stop, Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {StreamTest} from "../utils/StreamTest.sol";

/// Many grants stopped in one call: each by the rule of `freeze` or `revoke`, and none held up by another.
contract SessionKeyValidatorStopManyTest is StreamTest {
    bytes32 internal grantId;
    bytes internal terms;
    address internal other = makeAddr("other account");
    bytes32 internal otherId;

    function setUp() public override {
        super.setUp();
        (grantId, terms) = grant(singleTerms());
        install(other);
        vm.prank(other);
        otherId = module.grant(singleTerms());
    }

    function test_stopMany_freezesAndRevokesGrantsOfSeveralAccounts() public {
        Terms memory more = singleTerms();
        more.salt = bytes24("more");
        (bytes32 moreId,) = grant(more);
        Stop[] memory stops = new Stop[](3);
        stops[0] = Stop(account, grantId, false);
        stops[1] = Stop(other, otherId, true);
        stops[2] = Stop(account, moreId, false);
        vm.expectEmit(address(module));
        emit ISessionKeyValidator.GrantFrozen(account, grantId, guardian);
        vm.expectEmit(address(module));
        emit ISessionKeyValidator.GrantRevoked(other, otherId, guardian);
        vm.expectEmit(address(module));
        emit ISessionKeyValidator.GrantFrozen(account, moreId, guardian);
        vm.prank(guardian);
        module.stopMany(stops);
        assertStatus(grantId, Status.Frozen);
        assertStatusOf(other, otherId, Status.Revoked);
        assertStatus(moreId, Status.Frozen);
    }

    function test_stopMany_byTheAccountStopsItsOwnGrantsOnly() public {
        Stop[] memory stops = pair(false);
        vm.prank(account);
        module.stopMany(stops);
        assertStatus(grantId, Status.Frozen);
        assertStatusOf(other, otherId, Status.Active);
    }

    function test_stopMany_skipsWhatTheCallerMayNotStopAndGoesOn() public {
        vm.prank(other);
        module.setGuardian(stranger);
        Stop[] memory stops = new Stop[](2);
        stops[0] = Stop(other, otherId, true);
        stops[1] = Stop(account, grantId, true);
        expectStopSkipped(other, otherId, ISessionKeyValidator.Unauthorized.selector);
        vm.prank(guardian);
        module.stopMany(stops);
        assertStatusOf(other, otherId, Status.Active);
        assertStatus(grantId, Status.Revoked);
    }

    function test_stopMany_skipsUnknownAndRevokedGrantsAndGoesOn() public {
        vm.prank(account);
        module.revoke(account, grantId);
        Stop[] memory stops = new Stop[](3);
        stops[0] = Stop(account, keccak256("unknown"), true);
        stops[1] = Stop(account, grantId, false);
        stops[2] = Stop(other, otherId, false);
        expectStopSkipped(account, keccak256("unknown"), ISessionKeyValidator.GrantNotLive.selector);
        expectStopSkipped(account, grantId, ISessionKeyValidator.GrantNotLive.selector);
        vm.prank(guardian);
        module.stopMany(stops);
        assertStatus(grantId, Status.Revoked);
        assertStatusOf(other, otherId, Status.Frozen);
    }

    function test_stopMany_changesNothingTheSecondTimeAndRevokesWhatIsFrozen() public {
        vm.startPrank(guardian);
        module.stopMany(pair(false));
        vm.recordLogs();
        module.stopMany(pair(false));
        assertEq(vm.getRecordedLogs().length, 0);
        module.stopMany(pair(true));
        assertEq(vm.getRecordedLogs().length, 2);
        module.stopMany(pair(true));
        assertEq(vm.getRecordedLogs().length, 0);
        vm.stopPrank();
        assertStatus(grantId, Status.Revoked);
        assertStatusOf(other, otherId, Status.Revoked);
    }

    function test_stopMany_ofOneGrantTwiceStopsItOnce() public {
        Stop[] memory stops = new Stop[](2);
        (stops[0], stops[1]) = (Stop(account, grantId, false), Stop(account, grantId, false));
        vm.recordLogs();
        vm.prank(guardian);
        module.stopMany(stops);
        assertEq(vm.getRecordedLogs().length, 1);
    }

    function test_stopMany_ofNothingDoesNothing() public {
        vm.recordLogs();
        module.stopMany(new Stop[](0));
        assertEq(vm.getRecordedLogs().length, 0);
    }

    function test_stopMany_neverPaysOrResumes() public {
        module.settle(account, terms, pack(claimOf(grantId, 3e6)));
        bytes memory more = pack(claimOf(grantId, 4e6));
        vm.prank(guardian);
        module.stopMany(pair(false));
        assertEq(settledOf(grantId), 3e6);
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.GrantNotLive.selector, grantId, Status.Frozen));
        module.settle(account, terms, more);
    }

    /// Whatever is listed, by whomever: the outcome of each is that of `freeze` or `revoke` called alone.
    function testFuzz_stopMany_isAsIfEachWereStoppedAlone(uint8[6] calldata which, uint8 who) public {
        address caller = [account, other, guardian, stranger][who % 4];
        Stop[] memory stops = new Stop[](which.length);
        for (uint256 i = 0; i < which.length; i++) {
            bytes32 id = [grantId, otherId, keccak256("unknown")][which[i] / 4 % 3];
            stops[i] = Stop(which[i] % 2 == 0 ? account : other, id, which[i] / 2 % 2 == 0);
        }
        uint256 before = vm.snapshotState();
        for (uint256 i = 0; i < stops.length; i++) {
            vm.prank(caller);
            (bool success,) = address(module).call(single(stops[i]));
            success;
        }
        (uint8 one, uint8 two) = statuses();
        vm.revertToState(before);
        vm.prank(caller);
        module.stopMany(stops);
        (uint8 oneNow, uint8 twoNow) = statuses();
        assertEq(oneNow, one);
        assertEq(twoNow, two);
    }

    function single(Stop memory stop) internal view returns (bytes memory) {
        if (stop.revokes) return abi.encodeCall(module.revoke, (stop.account, stop.grantId));
        return abi.encodeCall(module.freeze, (stop.account, stop.grantId));
    }

    function statuses() internal view returns (uint8, uint8) {
        (Status one,,,) = module.grantState(account, grantId);
        (Status two,,,) = module.grantState(other, otherId);
        return (uint8(one), uint8(two));
    }

    function pair(bool revokes) internal view returns (Stop[] memory stops) {
        stops = new Stop[](2);
        (stops[0], stops[1]) = (Stop(account, grantId, revokes), Stop(other, otherId, revokes));
    }

    function expectStopSkipped(address who, bytes32 id, bytes4 reason) internal {
        vm.expectEmit(address(module));
        emit ISessionKeyValidator.StopSkipped(who, id, reason);
    }

    function assertStatusOf(address who, bytes32 id, Status expected) internal view {
        (Status status,,,) = module.grantState(who, id);
        assertEq(uint8(status), uint8(expected), "status");
    }
}
