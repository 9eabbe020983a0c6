from tests.server.shared_servers import env, ring, running, sandbox, shared_ring

__all__ = ["env", "ring", "running", "sandbox", "shared_ring"]
