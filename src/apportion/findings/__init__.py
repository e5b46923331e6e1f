"""The statements of the study by Raghavendra, Kang and Ritter (ACL 2025), tested on any results."""
