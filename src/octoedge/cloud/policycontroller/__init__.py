"""PolicyController: tells each node what the service accounts of its pods may do (ServiceAccountAccess)."""
