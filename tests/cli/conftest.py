from tests.server.shared_servers import env, ring, shared_ring

__all__ = ["env", "ring", "shared_ring"]
