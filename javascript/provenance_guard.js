// The list of records is as old as the page: read it again whenever our tab is opened.
onUiTabChange(function () {
    const tab = get_uiCurrentTabContent();
    if (tab && tab.id === "tab_provenance_guard") {
        gradioApp().querySelector("#provenance-guard-recent-refresh").click();
    }
});
