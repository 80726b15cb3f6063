"""A machine image by its id.

The CDK's own classes look an image up, follow an SSM parameter or ask for the region; a parameter
would also make a rollback of an instance refresh impossible (EC2 Auto Scaling API reference).
"""

from __future__ import annotations

import jsii
from aws_cdk import aws_ec2 as ec2
from constructs import Construct


@jsii.implements(ec2.IMachineImage)
class ImageById:
    """The image ``image_id`` in whatever region the stack is deployed to."""

    def __init__(self, image_id: str, user_data: ec2.UserData) -> None:
        self._config = ec2.MachineImageConfig(
            image_id=image_id, os_type=ec2.OperatingSystemType.LINUX, user_data=user_data
        )

    @jsii.member(jsii_name="getImage")
    def get_image(self, scope: Construct) -> ec2.MachineImageConfig:  # noqa: ARG002 - the CDK's signature
        """What the launch template asks for."""
        return self._config
