#!/bin/sh
# First process of a guest. Kernel arguments: SHARE, a folder of the host; LIMIT, seconds until it ends by itself;
# VERSION, of its kernel.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /run
mount -t tmpfs tmp /mnt
mkdir -p /mnt/share /mnt/lib/modules
mount -t hostfs -o "$SHARE" none /mnt/share
cd /mnt/share || exit 1
exec >init.log 2>&1
(
    sleep "$LIMIT"
    echo o >/proc/sysrq-trigger
) &

# The kernel itself asks for algorithms by this program.
ln -s "/usr/lib/uml/modules/$(uname -r)" "/mnt/lib/modules/$(uname -r)"
printf '#!/bin/sh\nexec /sbin/modprobe -d /mnt "$@"\n' >/run/modprobe
chmod +x /run/modprobe
echo /run/modprobe >/proc/sys/kernel/modprobe
for module in ipv6 xfrm_user esp6 drbg; do
    /run/modprobe "$module" || echo "no module $module"
done

. ./network.sh

export STRONGSWAN_CONF=/mnt/share/strongswan.conf
/usr/lib/ipsec/charon &
n=1
: >up
while :; do
    if [ -f "command.$n" ]; then
        sh "command.$n" >"output.$n" 2>&1 </dev/null
        echo $? >"status.$n.new"
        mv "status.$n.new" "status.$n"
        n=$((n + 1))
    fi
    sleep 0.05
done
