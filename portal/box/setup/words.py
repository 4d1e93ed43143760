"""What the setup page says, in Bahasa Indonesia and in English. It must not know when.

Not gettext like the villagers' pages: only technicians read it, once, and nobody translates it further.
"""

from __future__ import annotations

from typing import Final

LANGUAGES: Final = {"id": "Bahasa Indonesia", "en": "English"}
_WORDS: Final[dict[str, tuple[str, str]]] = {
    "title": ("Penyiapan gateway", "Set up this gateway"),
    "tagline": ("Penyiapan pertama", "First set-up"),
    "step": ("Langkah {number} dari 4", "Step {number} of 4"),
    "next": ("Lanjut", "Next"),
    "back": ("Kembali", "Back"),
    "anyway": ("Lanjut walaupun gagal", "Go on although it failed"),
    "again": ("Ubah dan uji lagi", "Change and test again"),
    "mistakes": ("Ada yang perlu diperbaiki", "Something must be mended"),
    "broken": ("Alat tidak menjawab", "The box does not answer"),
    "broken-do": (
        "Coba lagi. Kalau tetap begini, cabut listriknya, tunggu 10 detik, lalu pasang lagi.",
        "Try again. If it stays like this, unplug its power, wait 10 seconds, and plug it in again.",
    ),
    "site": ("Desa mana ini?", "Which desa is this?"),
    "site-lead": (
        "Alat ini baru. Empat langkah, sekitar sepuluh menit. Belum ada yang bisa dipakai warga sebelum selesai.",
        "This box is new. Four steps, some ten minutes. Nobody can use it before they are done.",
    ),
    "site-error": ("site.toml di kartu belum benar", "The card's site.toml is not right yet"),
    "site.code": ("Kode desa Kemendagri", "The desa's Kemendagri code"),
    "site.code-hint": ("Contoh: 64.03.01.2001", "For example: 64.03.01.2001"),
    "site.name": ("Nama desa", "The desa's name"),
    "site.name-hint": ("Tampil di halaman warga", "The villagers' page shows it"),
    "line": ("Saluran Internet", "The Internet line"),
    "line-lead": (
        "Pasang kabel dari penyedia ke port pertama alat, atau modem ke USB. Pengujian butuh sampai 40 detik.",
        "Plug the provider's cable into the box's first port, or the modem into USB. The test takes up to 40 seconds.",
    ),
    "uplink.kind": ("Cara tersambung", "How it connects"),
    "kind-dhcp": ("Otomatis (DHCP), paling sering", "By itself (DHCP), most of the time"),
    "kind-static": ("Alamat tetap dari penyedia", "A fixed address from the provider"),
    "kind-pppoe": ("Nama dan kata sandi (PPPoE)", "Name and password (PPPoE)"),
    "kind-usb": ("HP atau modem di USB", "A telephone or modem on USB"),
    "uplink.vlan": ("VLAN", "VLAN"),
    "uplink.vlan-hint": ("Kosongkan kalau penyedia tidak menyebutnya", "Leave it empty if the provider names none"),
    "uplink.address": ("Alamat tetap", "The fixed address"),
    "uplink.address-hint": ("Contoh: 203.0.113.10/30", "For example: 203.0.113.10/30"),
    "uplink.gateway": ("Router penyedia (gateway)", "The provider's router (gateway)"),
    "uplink.gateway-hint": ("Contoh: 203.0.113.9", "For example: 203.0.113.9"),
    "uplink.dns": ("DNS penyedia", "The provider's DNS"),
    "uplink.dns-hint": ("Wajib untuk alamat tetap", "Needed with a fixed address"),
    "uplink.user": ("Nama PPPoE", "PPPoE name"),
    "uplink.user-hint": ("Dari surat penyedia", "From the provider's letter"),
    "uplink.password": ("Kata sandi PPPoE", "PPPoE password"),
    "uplink.password-hint": ("Dari surat penyedia", "From the provider's letter"),
    "kept": ("Sudah tersimpan. Kosongkan kalau tidak berubah", "It is kept. Leave it empty unless it has changed"),
    "uplink.down_kbit": ("Kecepatan unduh, kbit/s", "Download rate, kbit/s"),
    "uplink.down_kbit-hint": ("Sedikit di bawah hasil ukur, misalnya 18000", "A little below what was measured: 18000"),
    "uplink.up_kbit": ("Kecepatan unggah, kbit/s", "Upload rate, kbit/s"),
    "uplink.up_kbit-hint": ("Misalnya 4500. Boleh kosong", "For example 4500. It may stay empty"),
    "details": ("Alamat tetap, PPPoE, VLAN", "Fixed address, PPPoE, VLAN"),
    "test-line": ("Uji saluran", "Test the line"),
    "line-result": ("Hasil uji saluran", "What the test of the line says"),
    "cable": ("Kabel atau modem", "Cable or modem"),
    "cable-do": (
        "Tidak ada sinyal. Periksa kabel, modem, dan lampunya; coba port lain.",
        "There is no signal. Look at the cable, the modem and its lights; try another port.",
    ),
    "address": ("Alamat dari penyedia", "Address from the provider"),
    "address-do": (
        "Penyedia tidak memberi alamat. Periksa cara tersambung, nama dan kata sandi, VLAN. "
        "Mungkin kabel penyedia dan kabel access point tertukar.",
        "The provider gives none. Look at how it connects, name and password, VLAN. "
        "The provider's cable and the access point's may be swapped.",
    ),
    "router": ("Router penyedia menjawab", "The provider's router answers"),
    "router-do": ("Router penyedia diam. Nyalakan ulang modemnya.", "It is silent. Restart the modem."),
    "dns": ("DNS menjawab", "DNS answers"),
    "dns-do": ("Nama tidak ditemukan. Tanyakan DNS ke penyedia.", "Names are not found. Ask the provider for its DNS."),
    "web": ("Internet terbuka", "The Internet opens"),
    "web-do": (
        "Halaman uji tidak terbuka. Mungkin langganan belum aktif.",
        "The test page does not open. The subscription may not be active yet.",
    ),
    "unknown": ("tidak diketahui", "not known"),
    "good": ("baik", "good"),
    "bad": ("gagal", "failed"),
    "wifi": ("Wi-Fi", "Wi-Fi"),
    "wifi-lead": (
        "Nama jaringan yang dilihat warga. Tanpa kata sandi: setiap orang masuk lewat halaman persetujuan.",
        "The network's name, as villagers see it. It has no password: everybody comes in through the terms page.",
    ),
    "wifi.enabled": ("Pemancar Wi-Fi", "What sends the Wi-Fi"),
    "wifi-own": ("Radio di dalam alat", "The box's own radio"),
    "wifi-ap": ("Access point di LAN", "An access point (LAN)"),
    "wifi.ssid": ("Nama Wi-Fi", "Name of the Wi-Fi"),
    "wifi.ssid-hint": (
        "Untuk radio di dalam alat. Kosong: Wi-Fi Desa",
        "For the box's own radio. Empty: Wi-Fi Desa",
    ),
    "wifi-named": ("nama yang disetel di access point", "the name that was set in the access point"),
    "radio": ("Radio di dalam alat", "The box's own radio"),
    "radio-none": (
        "Alat ini tidak punya radio. Wi-Fi dipancarkan access point di port LAN, dengan nama yang disetel di sana.",
        "This box has no radio. An access point on a LAN port sends the Wi-Fi, under the name that was set there.",
    ),
    "radio-do": (
        "Radio ada, tetapi tidak bisa memancar. Pakai access point di port LAN.",
        "There is a radio, but it cannot send. Use an access point on a LAN port.",
    ),
    "port": ("Port LAN", "LAN ports"),
    "port-do": ("Tidak ada kabel di port LAN.", "No LAN port has a cable."),
    "finish": ("Periksa lalu simpan", "Look again, then save"),
    "save": ("Simpan", "Save"),
    "save-lead": (
        "Setelah disimpan, kata sandi petugas ditampilkan.",
        "Once it is saved, the staff's passwords are shown.",
    ),
    "saved": ("Tersimpan", "Saved"),
    "pass": ("LULUS", "PASS"),
    "fail": ("BELUM LULUS", "NOT PASSED"),
    "passwords": ("Kata sandi petugas", "The staff's passwords"),
    "passwords-lead": (
        "Catat sekarang. Masing-masing harus diganti saat pertama kali masuk, di {address}.",
        "Write them down now. Each must be changed at its first login, at {address}.",
    ),
    "on-card": (
        "Kata sandi petugas juga ada di kartu alat, di berkas STAFF-PASSWORDS.txt.",
        "The staff's passwords are on the box's card, too, in STAFF-PASSWORDS.txt.",
    ),
    "card": ("Kartu pemasangan", "Installation card"),
    "card-lead": ("Foto kartu ini untuk laporan.", "Take a picture of this card for your report."),
    "code": ("Kode desa", "Code"),
    "device": ("Nomor alat", "Device"),
    "done": ("Penyiapan sudah selesai", "The box is set up"),
    "done-by": ("Dari HP atau laptop lain.", "From another telephone or laptop."),
    "done-do": (
        "Cabut listrik alat, lalu pasang lagi. Dua menit kemudian alat bekerja.",
        "Unplug the box's power, and plug it in again. Two minutes later it works.",
    ),
    "restart": ("Nyalakan ulang dan mulai", "Restart and begin"),
    "restarting": ("Alat menyala ulang", "The box restarts"),
    "restarting-do": (
        "Tunggu dua menit, lalu sambungkan HP ke Wi-Fi {ssid}. Halaman warga terbuka sendiri.",
        "Wait two minutes, then join the Wi-Fi {ssid}. The villagers' page opens by itself.",
    ),
    "restarting-ap-do": (
        "Pasang access point ke port LAN, tunggu dua menit, lalu sambungkan HP ke Wi-Fi dengan nama yang disetel di "
        "access point itu. Halaman warga terbuka sendiri.",
        "Plug the access point into a LAN port, wait two minutes, then join its Wi-Fi, under the name that was set in "
        "it. The villagers' page opens by itself.",
    ),
}


def words(language: str) -> dict[str, str]:
    """Every sentence in one language; Bahasa Indonesia for any that is not known."""
    return {key: both[language == "en"] for key, both in _WORDS.items()}
