"""Runs the service until it is stopped; a start that cannot succeed ends with a sentence."""

from __future__ import annotations

import argparse
import errno
import ipaddress
import socket
import sys

import bentoml

from serving.operations.client import SERVICE, ServiceError
from serving.storage.bundles.active import active_folder
from serving.storage.bundles.start import bundle_to_serve
from serving.storage.bundles.store import stated_digest
from serving.storage.settings import read_settings


def run_service(options: argparse.Namespace) -> None:
    """Serve the model that was activated last, or else the newest stored one, at an address.

    Raises:
        ServiceError: the address is none of this machine, or its port is in use.
        serving.storage.bundles.store.NoStoredModel: no model is stored.
        serving.storage.errors.StorageError: the audit log cannot be opened.
        serving.decision.bundle.BundleError: the model is damaged.
    """
    _check_address(options.host, options.port)
    digest = stated_digest(bundle_to_serve(active_folder(read_settings())))
    sys.stdout.write(f"serving {digest}\n")
    sys.stdout.flush()
    # In the current folder, which relative paths of the environment mean.
    bentoml.serve(
        SERVICE,
        host=options.host,
        port=options.port,
        working_dir=".",
        blocking=True,
    )


def _check_address(host: str, port: int) -> None:
    """ServiceError unless a service could listen there: BentoML ends with a traceback."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        raise ServiceError(f"expected an IP address such as 127.0.0.1, got {host!r}") from None
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    with socket.socket(family) as probe:
        # As the service's own socket: the connections of a service that ended do not hold the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OverflowError:
            raise ServiceError(f"expected a port from 0 to 65535, got {port}") from None
        except OSError as error:
            hint = "; is another one running?" if error.errno == errno.EADDRINUSE else ""
            raise ServiceError(
                f"the service cannot listen at {host} port {port}: {error}{hint}"
            ) from error
