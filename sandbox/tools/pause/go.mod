module feast-eks/sandbox/tools/pause

go 1.26.0
