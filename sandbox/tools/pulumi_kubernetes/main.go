// The official Kubernetes provider as a plugin. Its own command embeds two generated files that its module lacks;
// the schema among them is only asked for by `pulumi import` and packages.
package main

import (
	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/provider"
	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/version"
)

func main() {
	provider.Serve("kubernetes", version.Version, []byte("{}"), []byte("{}"))
}
