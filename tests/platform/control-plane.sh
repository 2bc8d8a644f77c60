#!/usr/bin/env bash
# A control plane on loopback without a node: etcd, an API server with its controllers and its scheduler, and nodes that
# are none. The programs are those of `make` in the source of Kubernetes; README.md says how they are built.
# Usage: control-plane.sh PROGRAMS DIR; runs until it is ended. DIR/kubeconfig is for helm and kubectl.
set -euo pipefail
programs=$1 dir=$2 here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$dir" && cd "$dir"
[ -f sa.key ] || openssl genrsa -out sa.key 2048 2>/dev/null
[ -f token ] || openssl rand -hex 16 > token
echo "$(cat token),admin,1,system:masters" > tokens.csv
cat > kubeconfig <<END
apiVersion: v1
kind: Config
clusters: [{name: t, cluster: {server: "https://127.0.0.1:16443", insecure-skip-tls-verify: true}}]
users: [{name: t, user: {token: "$(cat token)"}}]
contexts: [{name: t, context: {cluster: t, user: t}}]
current-context: t
END
chmod 600 kubeconfig tokens.csv token
children=()
trap 'kill "${children[@]}" 2>/dev/null; wait' EXIT
etcd --data-dir etcd --listen-client-urls http://127.0.0.1:12379 --advertise-client-urls http://127.0.0.1:12379 \
    --listen-peer-urls http://127.0.0.1:12380 --initial-advertise-peer-urls http://127.0.0.1:12380 \
    --initial-cluster default=http://127.0.0.1:12380 > etcd.log 2>&1 & children+=($!)
"$programs/kube-apiserver" --etcd-servers=http://127.0.0.1:12379 --bind-address=127.0.0.1 --advertise-address=127.0.0.1 \
    --secure-port=16443 --insecure-port=0 --cert-dir=certs --service-cluster-ip-range=10.96.0.0/16 \
    --service-account-key-file=sa.key --service-account-signing-key-file=sa.key \
    --service-account-issuer=https://kubernetes.default.svc --token-auth-file=tokens.csv --authorization-mode=RBAC \
    --disable-admission-plugins=ServiceAccount > apiserver.log 2>&1 & children+=($!)
until curl -sk -H "Authorization: Bearer $(cat token)" https://127.0.0.1:16443/readyz | grep -q ok; do sleep 1; done
"$programs/kube-controller-manager" --kubeconfig=kubeconfig --controllers='*,-nodelifecycle,-nodeipam' --leader-elect=false \
    --service-account-private-key-file=sa.key --cert-dir=certs-cm --port=0 --secure-port=16257 \
    > controllers.log 2>&1 & children+=($!)
"$programs/kube-scheduler" --kubeconfig=kubeconfig --leader-elect=false --cert-dir=certs-s --port=0 --secure-port=16259 \
    > scheduler.log 2>&1 & children+=($!)
python3 "$here/fake_kubelet.py" https://127.0.0.1:16443 "$(cat token)" > kubelet.log 2>&1 & children+=($!)
echo "ready: KUBECONFIG=$dir/kubeconfig"
wait
