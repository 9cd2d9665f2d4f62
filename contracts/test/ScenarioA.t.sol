// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {PotSettlement} from "../src/PotSettlement.sol";
import {Checks} from "./Checks.sol";

/// @notice The settlement batch of scenario A of the protocol (its section 5): the digest and the signatures, which
/// were made in Python, are accepted by the contract at the address and on the chain that the scenario names.
contract ScenarioATest is Checks {
    bytes32 private constant ENTRIES = 0x9b34ad5af894eace303dda5d69234e1677805ddfb951278467a7efe65b00d6d2;
    bytes32 private constant DIGEST = 0xd7ee6a198ad5f4f9f5ad75e0f3a118cdf89b84627429eaee8752df683abad5db;

    PotSettlement private pot;
    address[] private to;
    uint256[] private amount;
    bytes private signatures;

    error Constructor(bytes reason);

    function setUp() public {
        vm.chainId(97);
        address[] memory owners = new address[](3);
        owners[0] = 0xAAfC30682F199b990fb91A2C387090F5066B5A27;
        owners[1] = 0xBED7add66C5472f9b860b7BD13711eE5Ec6503cb;
        owners[2] = 0xd2EA9FB8976d756e59384A52cfe632f07B2ACFBB;
        // Runs the constructor at the scenario's address: what it returns is the code to put there.
        address place = 0x1111111111111111111111111111111111111111;
        vm.etch(place, abi.encodePacked(type(PotSettlement).creationCode, abi.encode(owners, 3, address(0), false)));
        vm.setNonce(place, 1);
        (bool done, bytes memory code) = place.call("");
        if (!done) revert Constructor(code);
        vm.etch(place, code);
        pot = PotSettlement(payable(place));
        to.push(0x1ED98b012D773c9eEa5B18113Fb4C7eD87aF124E);
        amount.push(50000);
        to.push(0x396810F7a70183BC8c507F90f2670dabCd78eCa9);
        amount.push(37500);
        to.push(0x8F60f535ECd8f2398288365C021270a5Dd8cAaA4);
        amount.push(37500);
        to.push(0x9E1F2B7d401e79373E053f63CecAAC3B451F9C39);
        amount.push(37500);
        to.push(0xAB6540634613c724b74C112d06797D938237C2C9);
        amount.push(850007);
        signatures = abi.encodePacked(
            hex"c2638328701c3eb71720741fb12e9aaac74dd45e75e03ee77319e1136a5f6e0e"
            hex"1cce093c50c111ae1a187d077ee538c638e6863060a4d1eb7cc16a1a81ee4ca71c",
            hex"e81ff75fd7da795bb738982bd470319c0e55f4ad3ca68781527dc3628798a0c0"
            hex"5a0689a6d6c693a8963f9aa4bbdaa62f3b055b7120b851d165f91119281505131c",
            hex"a3ec8cfcc9dde31d1b59507de71140a7effad8c3d14d9b9d428a0ef2820652a8"
            hex"7ab9cf296973ec7bddf9d4cc3c16a2a54d4dff9910722987ebd9b5f96ff181b11b"
        );
        vm.deal(address(this), 2_000_000);
        pot.deposit{value: 2_000_000}(address(this));
    }

    function test_the_digest_is_the_scenarios() public view {
        eq(keccak256(abi.encode(to, amount)), ENTRIES, "entries");
        eq(pot.batchDigest(0, to, amount), DIGEST, "digest");
    }

    function test_the_signatures_execute() public {
        pot.executeBatch(0, to, amount, signatures);
        eq(pot.allocated(), 1_012_507, "total");
        for (uint256 i = 0; i < to.length; ++i) {
            eq(pot.rewards(to[i]), amount[i], "entry");
        }
    }
}
