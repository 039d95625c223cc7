// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {StreamAccount} from "./StreamAccount.sol";

/// @title StreamAccountFactory
/// @notice Deploys StreamAccounts at addresses that their owner and salt alone determine, so that money can be sent to
/// an account before it exists. Keeps no state.
contract StreamAccountFactory {
    event AccountCreated(address indexed account, address indexed owner, bytes32 salt);

    StreamAccount public immutable implementation;

    constructor(StreamAccount implementation_) {
        implementation = implementation_;
    }

    /// Returns the account, whether it was there already or not (ERC-4337 asks for that of a factory).
    function createAccount(address owner, bytes32 salt) external returns (address account) {
        account = getAddress(owner, salt);
        if (account.code.length != 0) return account;
        // It returns the address that is known already.
        // slither-disable-next-line unused-return
        Clones.cloneDeterministic(address(implementation), _saltOf(owner, salt));
        // The account's own code, which calls nobody.
        // slither-disable-next-line reentrancy-events
        StreamAccount(payable(account)).initialize(owner);
        emit AccountCreated(account, owner, salt);
    }

    function getAddress(address owner, bytes32 salt) public view returns (address) {
        return Clones.predictDeterministicAddress(address(implementation), _saltOf(owner, salt));
    }

    /// The owner is part of it: nobody can take the address of an account for themselves.
    function _saltOf(address owner, bytes32 salt) private pure returns (bytes32) {
        return keccak256(abi.encode(owner, salt));
    }
}
