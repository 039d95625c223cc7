// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {ERC4337Utils} from "@openzeppelin/contracts/account/utils/ERC4337Utils.sol";
import {EntryPointTest, IFactory} from "./EntryPointTest.sol";

/// The same on the real EntryPoint v0.7: its paymaster, its factory, and the account of `owner` there.
abstract contract EntryPointV07Test is EntryPointTest {
    /// What brings EntryPoint v0.7's creation code to its address.
    bytes32 internal constant ENTRY_POINT_V07_SALT = 0x90d8084deab30c2a37c45e8d47f49f2f7965183cb6990a98943ef94940681de3;

    function setUp() public virtual override {
        super.setUp();
        entryPoint = ERC4337Utils.ENTRYPOINT_V07;
        string memory artifact =
            vm.readFile("node_modules/@account-abstraction/contracts-v0.7/artifacts/EntryPoint.json");
        bytes memory creationCode = vm.parseJsonBytes(artifact, ".bytecode");
        (bool success,) = CREATE2_FACTORY.call(bytes.concat(ENTRY_POINT_V07_SALT, creationCode));
        require(success && address(entryPoint).code.length > 0, "EntryPoint v0.7 is not where it belongs");

        paymaster = vm.deployCode("SponsorPaymaster.sol", abi.encode(entryPoint, address(this), sponsor.addr));
        vm.deal(address(this), 10 ether);
        entryPoint.depositTo{value: 10 ether}(paymaster);
        address implementation = vm.deployCode("StreamAccount.sol", abi.encode(entryPoint));
        factory = IFactory(vm.deployCode("StreamAccountFactory.sol", abi.encode(implementation)));
        useAccount(0);
        usdc.mint(account, FUNDS);
    }
}
