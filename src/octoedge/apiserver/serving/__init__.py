"""HTTP: requests in, responses out; limits at the door, health, the forms that clients want."""
