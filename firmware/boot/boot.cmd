# Which slot starts: run by U-Boot from the partition `boot`, as boot.scr (mkimage -T script).
#
# Comes in: devtype and devnum from U-Boot's own search, and the variables below from two raw
# partitions, in the redundant layout of libubootenv (CRC-32, a counter of one byte, text), so
# that RAUC and this script write the same bytes, and a power cut tears only the copy that is
# not in force. Goes out: one try less of the slot that starts, on disk before it starts.
#   BOOT_ORDER    slots, the wanted one first (RAUC)
#   BOOT_A_LEFT   tries; 0: not this one (RAUC, this script)
#   BOOT_GOOD     the slot that last passed its health gate (floorcast-good)
#   MACHINE_ID    given to the system, whose root cannot keep it (floorcast-data)
# When no slot has tries left, the good one gets three more: a half-written slot never does.

part start ${devtype} ${devnum} uboot-env-a env_a
part start ${devtype} ${devnum} uboot-env-b env_b
setenv copy_a ${kernel_addr_r}
setexpr copy_b ${copy_a} + 8000
setexpr plain ${copy_a} + 10000
${devtype} read ${copy_a} ${env_a} 20
${devtype} read ${copy_b} ${env_b} 20

# The older copy first; the newer one then has the last word, unless it is torn.
setexpr at ${copy_a} + 4
setexpr.b count_a *${at}
setexpr at ${copy_b} + 4
setexpr.b count_b *${at}
setexpr ahead ${count_b} - ${count_a}
setexpr ahead ${ahead} \& ff
if test ${ahead} = 1; then setenv copies a b; else setenv copies b a; fi
setenv vars BOOT_ORDER BOOT_A_LEFT BOOT_B_LEFT BOOT_GOOD MACHINE_ID
setenv BOOT_ORDER A B
setenv BOOT_A_LEFT 3
setenv BOOT_B_LEFT 3
setenv BOOT_GOOD A
setenv MACHINE_ID
setenv newest b
setenv count 0
for copy in ${copies}; do
  if test ${copy} = a; then setenv from ${copy_a}; else setenv from ${copy_b}; fi
  setexpr text ${from} + 5
  setexpr to ${plain} + 4
  cp.b ${from} ${plain} 4
  cp.b ${text} ${to} 3ffb
  if env import -c ${plain} 3fff ${vars}; then
    setenv newest ${copy}
    if test ${copy} = a; then setenv count ${count_a}; else setenv count ${count_b}; fi
  else
    echo "floorcast: copy ${copy} of the variables is torn"
  fi
done

# No slot has tries left: only the good one may go on.
setenv left
for slot in ${BOOT_ORDER}; do
  if test ${slot} = A && test ${BOOT_A_LEFT} -gt 0; then setenv left yes; fi
  if test ${slot} = B && test ${BOOT_B_LEFT} -gt 0; then setenv left yes; fi
done
if test -z "${left}"; then
  echo "floorcast: no tries left, back to slot ${BOOT_GOOD}"
  setenv BOOT_ORDER ${BOOT_GOOD}
  setenv BOOT_A_LEFT 0
  setenv BOOT_B_LEFT 0
  setenv BOOT_${BOOT_GOOD}_LEFT 3
fi

setenv chosen
for slot in ${BOOT_ORDER}; do
  if test -z "${chosen}"; then
    if test ${slot} = A && test ${BOOT_A_LEFT} -gt 0; then
      setenv chosen A
      setenv label rootfs-a
      setexpr BOOT_A_LEFT ${BOOT_A_LEFT} - 1
    fi
    if test ${slot} = B && test ${BOOT_B_LEFT} -gt 0; then
      setenv chosen B
      setenv label rootfs-b
      setexpr BOOT_B_LEFT ${BOOT_B_LEFT} - 1
    fi
  fi
done

# Into the copy that is not in force, with the next count.
env export -c -s 3fff ${plain} ${vars}
if test ${newest} = a; then
  setenv to ${copy_b}
  setenv sector ${env_b}
else
  setenv to ${copy_a}
  setenv sector ${env_a}
fi
setexpr count ${count} + 1
setexpr count ${count} \& ff
setexpr at ${to} + 4
setexpr text ${to} + 5
setexpr from ${plain} + 4
cp.b ${plain} ${to} 4
mw.b ${at} ${count}
cp.b ${from} ${text} 3ffb
${devtype} write ${to} ${sector} 20

part number ${devtype} ${devnum} ${label} root_part
setenv bootargs "root=PARTLABEL=${label} ro rootwait rauc.slot=${chosen} panic=10 fsck.repair=yes ${board_args}"
if test -n "${MACHINE_ID}"; then
  setenv bootargs "${bootargs} systemd.machine_id=${MACHINE_ID}"
fi
echo "floorcast: slot ${chosen}, order ${BOOT_ORDER}, tries left A ${BOOT_A_LEFT} B ${BOOT_B_LEFT}"
if test -z "${fdt_file}"; then setenv fdt_at ${fdtcontroladdr}; else
  load ${devtype} ${devnum}:${root_part} ${fdt_addr_r} /boot/${fdt_file} && setenv fdt_at ${fdt_addr_r}
fi
setenv ramdisk_at -
if load ${devtype} ${devnum}:${root_part} ${ramdisk_addr_r} /boot/initrd; then
  setenv ramdisk_at ${ramdisk_addr_r}:${filesize}
fi
if load ${devtype} ${devnum}:${root_part} ${kernel_addr_r} /boot/Image; then
  booti ${kernel_addr_r} ${ramdisk_at} ${fdt_at}
fi
# Not a kernel: the next start tries on, with one try less.
reset
