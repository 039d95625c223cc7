// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Vm} from "forge-std/Vm.sol";

/// What forge counts for one transaction in isolation, on the state of the chain that it is run on. contracts/src/gas.test.ts
/// compares it with the chain's receipt: contracts/gas-snapshot.json is counted this way.
contract MeasureGas {
    Vm private constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    error CallFailed(bytes reason);

    function run(address from, address to, bytes calldata data) external returns (uint256 gas) {
        VM.prank(from, from);
        (bool success, bytes memory reason) = to.call(data);
        if (!success) revert CallFailed(reason);
        return VM.lastCallGas().gasTotalUsed;
    }
}
